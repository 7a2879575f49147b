from detox.ps.absences import Absences


def test_one_answer_ends_the_first_absence():
    absences = Absences()
    absences.missed(3, [1, 2])
    assert absences.workers == {1, 2}
    absences.answered(1, 4)
    assert absences.workers == {2}


def test_a_late_answer_to_the_missed_step_does_not_end_it():
    absences = Absences()
    absences.missed(3, [1])
    absences.answered(1, 3)
    absences.answered(1, 2)
    assert absences.workers == {1}


def test_each_further_absence_takes_twice_as_many_answers():
    absences, step, needed = Absences(), 0, []
    for _ in range(5):
        step += 1
        absences.missed(step, [1])
        answers = 0
        while absences.workers:
            step, answers = step + 1, answers + 1
            absences.answered(1, step)
            absences.answered(1, step)  # twice in a step counts once
        needed.append(answers)
    assert needed == [1, 2, 4, 8, 16]


def test_those_who_never_missed_anything_may_answer():
    absences = Absences()
    absences.answered(7, 1)
    assert not absences.workers
