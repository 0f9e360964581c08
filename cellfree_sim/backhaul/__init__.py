"""The backhaul between stations: messages, frames, links with simulated time, and double-entry books."""

from __future__ import annotations

from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.backhaul.codec import decode, encode, payload_bytes
from cellfree_sim.backhaul.ledger import Books, Entry, Ledger
from cellfree_sim.backhaul.link import Delivery, LinkSimulator, Parcel
from cellfree_sim.backhaul.messages import CATALOGUE, Header, Message
from cellfree_sim.backhaul.port import Port

__all__ = [
    "CATALOGUE",
    "Books",
    "Bundle",
    "Delivery",
    "Entry",
    "Header",
    "Ledger",
    "LinkSimulator",
    "Message",
    "Parcel",
    "Port",
    "decode",
    "encode",
    "payload_bytes",
]
