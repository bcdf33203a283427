"""What is answered on the event loop, and what never is."""

from zeroflow.functions.predictor.http.pace import LOOKED_AT, QUICK_S, SLOW_S, Pace

QUICK, SLOW = QUICK_S / 10, QUICK_S * 20


def learn(pace: Pace, seconds: list[float], size: int = 100) -> None:
    for each in seconds:
        pace.took(size, each, on_loop=pace.is_quick(size))


def test_requests_go_to_threads_until_some_have_been_quick() -> None:
    pace = Pace()
    learn(pace, [QUICK] * (LOOKED_AT - 1))
    assert not pace.is_quick(100)
    learn(pace, [QUICK])
    assert pace.is_quick(100)
    assert not pace.is_quick(10_000)  # of such requests nothing is known


def test_threads_that_hold_each_other_up_do_not_hide_a_quick_model() -> None:
    pace = Pace()
    learn(pace, [SLOW] * (LOOKED_AT - 1) + [QUICK])
    assert pace.is_quick(100)


def test_model_that_waits_never_comes_to_the_loop() -> None:
    pace = Pace()
    learn(pace, [1.0] * 1000)
    assert not pace.is_quick(100)


def test_slow_answer_on_the_loop_sends_requests_back_for_longer_each_time() -> None:
    pace = Pace()
    held, counts = 0, []
    for _ in range(3):
        count = 0
        while not pace.is_quick(100):
            pace.took(100, QUICK, on_loop=False)
            count += 1
        counts.append(count)
        pace.took(100, 1.0, on_loop=True)
        held += 1
        assert not pace.is_quick(100)
    assert counts[0] < counts[1] < counts[2]
    assert held == 3


def test_hiccups_of_a_busy_machine_are_forgiven() -> None:
    pace = Pace()
    learn(pace, [QUICK] * LOOKED_AT)
    for _ in range(100):
        learn(pace, [2 * SLOW_S] + [QUICK] * 12)
    assert pace.is_quick(100)


def test_model_that_is_slow_every_other_time_leaves_the_loop() -> None:
    pace = Pace()
    learn(pace, [QUICK] * LOOKED_AT)
    learn(pace, [2 * SLOW_S, QUICK] * 3)
    assert not pace.is_quick(100)
