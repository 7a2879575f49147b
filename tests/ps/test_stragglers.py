from detox.ps.events import Event, EventKind
from detox.ps.stragglers import Stragglers


class Absences(Stragglers):
    """Told in short."""

    def __init__(self):
        super().__init__(EventKind.MISSED)

    def missed(self, step, workers):
        for worker in workers:
            self.observe(Event(EventKind.MISSED, step, worker))

    def answered(self, worker, step):
        self.observe(Event(EventKind.HEARD, step, worker))


def test_one_answer_ends_the_first_absence():
    stragglers = Absences()
    stragglers.missed(3, [1, 2])
    assert stragglers.workers == {1, 2}
    stragglers.answered(1, 4)
    assert stragglers.workers == {2}


def test_a_late_answer_to_the_missed_step_does_not_end_it():
    stragglers = Absences()
    stragglers.missed(3, [1])
    stragglers.answered(1, 3)
    stragglers.answered(1, 2)
    assert stragglers.workers == {1}


def test_each_further_absence_takes_twice_as_many_answers():
    stragglers, step, needed = Absences(), 0, []
    for _ in range(5):
        step += 1
        stragglers.missed(step, [1])
        answers = 0
        while stragglers.workers:
            step, answers = step + 1, answers + 1
            stragglers.answered(1, step)
            stragglers.answered(1, step)  # twice in a step counts once
        needed.append(answers)
    assert needed == [1, 2, 4, 8, 16]


def test_those_who_never_missed_anything_may_answer():
    stragglers = Absences()
    stragglers.answered(7, 1)
    assert not stragglers.workers


def test_other_events_say_nothing_of_absence():
    stragglers = Absences()
    stragglers.missed(3, [1])
    for kind in set(EventKind) - {EventKind.HEARD}:
        stragglers.observe(Event(kind, 4, 1))
        stragglers.observe(Event(kind, 4, None, rank=1))
    assert stragglers.workers == {1}
    assert not Stragglers(EventKind.TARRIED).workers
