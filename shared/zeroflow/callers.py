"""How the host tells a function who asks.

`zeroflow-caller` names who was authenticated; the host takes it away from whoever sends it themselves. Functions of the
platform get a proof beside it, made with the token that only they and the host have: a process that finds a function's
port cannot give itself a name.
"""

import hashlib
import hmac

HEADER = "zeroflow-caller"
PROOF = "zeroflow-caller-proof"


def prove(token: str, caller: str) -> str:
    """Return the proof that goes with a caller's name."""
    return hmac.new(token.encode(), f"caller:{caller}".encode(), hashlib.sha256).hexdigest()


def is_proven(token: str, caller: str, proof: str) -> bool:
    """Say whether the host has written this name."""
    return hmac.compare_digest(prove(token, caller).encode(), proof.encode("utf-8", "surrogateescape"))
