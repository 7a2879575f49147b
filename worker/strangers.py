"""Other ranks of which nothing is due: what they send all the same is received, or it would fill a rank's memory."""

from collections.abc import Callable

from detox.wire import Message, Session

_EVERY = 0.1  # seconds: a look at each of 44 ranks takes 0.2 ms, which is 0.2 % of a core then
_TURNS = 16  # or so many turns, in each of which MPI may take a megabyte


class Strangers:
    """Other ranks of workers, where they have no part in this rank's work, or none yet.

    MPI keeps what nobody waits for. It reads as much of a flood as this rank looks for, so what it keeps of one is what
    the looks between two turns bring, and while there is one this looks at every turn.

    Args:
        session: the conversation with them; what is not expected in it is received into nothing.
        take: is given what is expected.
    """

    def __init__(self, session: Session, take: Callable[[Message], object] = lambda _: None) -> None:
        self._session = session
        self._take = take
        self._next = session.clock()
        self._turns = 0  # since nothing was found

    def turn(self) -> bool:
        """Receives what has come, if it is time to; whether anything has."""
        now, self._turns = self._session.clock(), self._turns + 1
        if now < self._next and self._turns < _TURNS:
            return False
        came = self._session.turn(self._take)
        self._turns, self._next = _TURNS if came else 0, now + _EVERY
        return came
