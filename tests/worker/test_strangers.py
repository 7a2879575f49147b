from detox.wire import Header, Kind
from detox.wire.memory import Network
from detox.worker.strangers import Strangers


def test_other_ranks_are_looked_at_now_and_then_and_while_one_floods_at_every_turn():
    network = Network()
    strangers, other = Strangers(network.session(1, [2])), network.channel(2, [1])
    left = []

    def turn():
        other.send([1], Header(Kind.CLAIM))
        strangers.turn()
        left.append(network.waiting(2, 1))

    strangers.turn()  # at the start, and nothing has come
    for _ in range(20):
        turn()
    assert left == [*range(1, 16), 0, 0, 0, 0, 0]
    strangers.turn()
    left.clear()
    turn()
    network.sleep(0.1)
    turn()
    assert left == [1, 0]
