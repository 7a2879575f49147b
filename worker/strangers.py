"""What other ranks send of which nothing is expected: it is received into nothing, or it would fill a rank's memory."""

from detox.wire import Session

_EVERY = 0.1  # seconds: a look at each of 44 ranks takes 0.2 ms, which is 0.2 % of a core then
_TURNS = 16  # or so many turns, in each of which MPI may take a megabyte


class Strangers:
    """Other ranks of workers, where they have no part in this rank's work.

    MPI keeps what nobody waits for. It reads as much of a flood as this rank looks for, so what it keeps of one is what
    the looks between two turns bring, and while there is one this looks at every turn.

    Args:
        session: the conversation with them, in which nothing is expected.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._next = session.clock()
        self._turns = 0  # since nothing was found

    def turn(self) -> None:
        """Receives what has come into nothing, if it is time to."""
        now, self._turns = self._session.clock(), self._turns + 1
        if now >= self._next or self._turns >= _TURNS:
            self._turns = _TURNS if self._session.turn(lambda _: None) else 0
            self._next = now + _EVERY
