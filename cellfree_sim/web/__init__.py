"""The live view in a browser: a small server for one running network, and the page that it serves.

    Watched ──status()──► Feed ──server-sent events──► pages (any number)
       ▲                                                  │
       └──inject, remove, pause, resume, stop──── POST ◄──┘  with the token, from the same origin

`server` binds the socket and lives; `app` has the routes; `guard` refuses what does not come from the page; `feed` asks
the run a few times a second and remembers its last answer, whoever looks; `orders` are the changes that a page may ask
for. The page itself is in `static`: ES modules, no build step, nothing from other hosts.
"""

from __future__ import annotations

from cellfree_sim.web.server import PageServer

__all__ = ["PageServer"]
