"""A model that nobody uses gives its memory back. No test here waits: time is what the test says it is."""

from __future__ import annotations

import threading

import pytest

from fim_magic.loading.idle import IdleLimit


class Time:
    """A clock, and timers that go off when it comes to them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Alarm] = []

    def __call__(self) -> float:
        return self.now

    def timer(self, seconds, act):
        return Alarm(self, self.now + seconds, act)

    def pass_(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [alarm for alarm in self.timers if alarm.at <= end]:
            first = min(due, key=lambda alarm: alarm.at)
            self.timers.remove(first)
            self.now = max(self.now, first.at)
            first.act()
        self.now = end


class Alarm:
    def __init__(self, time: Time, at: float, act) -> None:
        self.time, self.at, self.act = time, at, act

    def start(self) -> None:
        self.time.timers.append(self)

    def cancel(self) -> None:
        if self in self.time.timers:
            self.time.timers.remove(self)


@pytest.fixture
def time():
    return Time()


class Rests(list):
    """When it rested."""

    answer = True

    def __init__(self, time: Time) -> None:
        super().__init__()
        self.time = time

    def __call__(self) -> bool:
        self.append(self.time.now - 1000)
        return self.answer


def limit(time, seconds=60.0):
    rests = Rests(time)
    return IdleLimit(rests, seconds, time, time.timer), rests


def test_it_rests_when_nothing_was_used_for_so_long_and_only_once(time):
    idle, rests = limit(time)
    with idle.used():
        pass
    time.pass_(59)
    assert rests == []
    time.pass_(600)
    assert rests == [60]


def test_before_anything_was_used_nothing_waits(time):
    idle, rests = limit(time)
    assert time.timers == []
    time.pass_(600)
    assert rests == []
    idle.close()


def test_each_use_counts_from_its_end(time):
    idle, rests = limit(time)
    with idle.used():
        pass
    time.pass_(50)
    with idle.used():
        time.pass_(5)
    time.pass_(59)
    assert rests == []
    time.pass_(1)
    assert rests == [115]


def test_many_uses_make_one_timer(time):
    idle, _ = limit(time)
    for _ in range(10):
        with idle.used():
            time.pass_(1)
    assert len(time.timers) == 1


def test_it_never_rests_during_a_use_however_long(time):
    idle, rests = limit(time)
    with idle.used():
        pass
    with idle.used():
        time.pass_(1000)
        with idle.used():
            pass
        time.pass_(1000)
        assert rests == []
    time.pass_(59)
    assert rests == []
    time.pass_(1)
    assert rests == [2060]


def test_a_use_that_fails_has_ended_too(time):
    idle, rests = limit(time)
    with pytest.raises(KeyboardInterrupt), idle.used():
        raise KeyboardInterrupt
    time.pass_(60)
    assert rests == [60]


def test_what_cannot_rest_now_is_asked_again(time):
    idle, rests = limit(time)
    rests.answer = False
    with idle.used():
        pass
    time.pass_(60)
    rests.answer = True
    time.pass_(600)
    assert rests == [60, 120]


def test_zero_is_never(time):
    idle, rests = limit(time, 0.0)
    with idle.used():
        pass
    time.pass_(1e6)
    assert (rests, time.timers) == ([], [])


def test_the_limit_can_be_changed_while_it_waits(time):
    idle, rests = limit(time)
    with idle.used():
        pass
    time.pass_(30)
    idle.set(40)
    time.pass_(10)
    assert rests == [40]
    with idle.used():
        pass
    idle.set(0)
    time.pass_(1000)
    assert rests == [40]


def test_a_timer_that_was_cancelled_too_late_does_nothing(time):
    idle, rests = limit(time)
    with idle.used():
        pass
    (alarm,) = time.timers
    idle.close()
    time.now += 1000
    alarm.act()
    assert rests == []


def test_who_begins_while_it_rests_waits_for_that():
    resting, may_end, began = threading.Event(), threading.Event(), threading.Event()

    def rest() -> bool:
        resting.set()
        assert may_end.wait(60)
        return True

    time = Time()
    idle = IdleLimit(rest, 60.0, time, time.timer)

    def use() -> None:
        assert resting.wait(60)
        with idle.used():
            assert may_end.is_set()
            began.set()

    with idle.used():
        pass
    user = threading.Thread(target=use)
    sleeper = threading.Thread(target=time.pass_, args=(60,))
    user.start()
    sleeper.start()
    assert resting.wait(60)
    assert not began.is_set()
    may_end.set()
    for thread in (user, sleeper):
        thread.join(60)
    assert began.is_set()


def test_the_real_timer_does_not_keep_the_process():
    idle = IdleLimit(lambda: True, 1e6)
    with idle.used():
        pass
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "fim-magic idle")
    assert thread.daemon
    idle.close()
    thread.join(60)
    assert not thread.is_alive()
