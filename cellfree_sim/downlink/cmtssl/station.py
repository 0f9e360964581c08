"""The SBS side of CMTSSL: it uploads its channels, and does what the MBS decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.backhaul.messages import Admit, Join, Phase, PolicyDecision
from cellfree_sim.downlink.cmtssl.boundary import says_hold
from cellfree_sim.downlink.roles import Context, Round
from cellfree_sim.downlink.station import Station
from cellfree_sim.errors import RunFailedError
from cellfree_sim.network.users import Split

if TYPE_CHECKING:
    from cellfree_sim.network import Network


class CmtsslStation(Station):
    """One SBS with its channels H^b and its backhaul port; it has no policy of its own.

    Attributes:
        decisions: what the MBS decided for the split that was measured last, in order of the realisations.
    """

    def __init__(self, context: Context, name: str) -> None:
        super().__init__(context, name)
        self.decisions: list[PolicyDecision] = []
        self._training = False  # whether the round that is open is one of training

    def join(self) -> bytes:
        """Announce the station, and upload all training realisations, once."""
        bundle = Bundle()
        bundle.add(self._send(Join(parameters=0, flops_per_realisation=0), Round("setup", self.step)))
        self._add_training_channels(bundle)
        return bundle.pack()

    def send_model(self, receiver: str) -> bytes:
        """Nothing: the one network there is serves the new station from where it is."""
        return Bundle().pack()

    def upload(self, exchange: Round) -> bytes:
        """Nothing for a training round; for validation, the channels, once."""
        self._training = exchange.phase == "training"
        if self._training:
            return Bundle().pack()
        self._validated = self.step
        return self.measure(exchange.phase)

    def measure(self, phase: Phase) -> bytes:
        """Report the channels of the validation split (once), or of the test split (each time).

        This is what executing CMTSSL takes, so it goes at the precision of the backhaul; the test split as "execution".
        Where that is not full precision, the rates that follow from the MBS's decisions can only be measured with the
        true channels: they go once more, as a measurement.
        """
        self._training = False
        self.decisions = []
        bundle = Bundle()
        if phase == "validation" and self._reported:
            return bundle.pack()
        split: Split = "validation" if phase == "validation" else "test"
        self._add_reports(bundle, split, Round("execution" if phase == "test" else phase, self.step))
        if self._scenario.backhaul.precision != "float32":
            self._add_reports(bundle, split, Round(phase, self.step), precision="float32")
        self._reported = self._reported or phase == "validation"
        return bundle.pack()

    def absorb(self, bundle: bytes) -> None:
        """Take in who takes part, or what the station is to send; or that a training round is over."""
        if self._training:
            self._training = False
            self._held = says_hold(bundle)
            self.step += 1
            return
        for frame, arrival_s in Bundle.unpack(bundle):
            header, message = self._port.receive(frame)
            self.now_s = max(self.now_s, arrival_s)
            if isinstance(message, PolicyDecision):
                self.decisions.append(message)
            elif not isinstance(message, Admit):
                raise RunFailedError(f"{self.name}: no use for a {message.KIND} from {header.sender}")

    def load_state(self, state: Mapping[str, Any], network: Network) -> None:
        """See `Station.state`."""
        super().load_state(state, network)
        self.decisions, self._training = [], False

    def _lose_upload(self) -> None:
        """Nothing is lost: in training the station sends nothing."""

    def _go_on(self, step: int) -> None:
        self.step = step
