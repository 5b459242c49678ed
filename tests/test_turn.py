"""Whose turn it is, where some requests give way to others."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

from fim_magic.errors import BusyError
from fim_magic.turn import Turn


@contextmanager
def held(turn, *, gives_way, leaves=None):
    """Another thread's request, which ends when it is stopped, or when `leaves` is set if that is given."""
    stop, has_it, out = threading.Event(), threading.Event(), threading.Event()

    def work():
        with turn.taken(stop, gives_way=gives_way):
            has_it.set()
            (leaves or stop).wait(30)
        out.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert has_it.wait(30)
    yield stop
    stop.set()
    if leaves is not None:
        leaves.set()
    thread.join(30)
    assert out.is_set()


def test_one_that_gives_way_is_stopped_and_waited_for():
    turn = Turn()
    with held(turn, gives_way=True) as stop:
        turn.require_free()
        assert not stop.is_set()
        with turn.taken(threading.Event()):
            assert stop.is_set()
            assert turn.is_mine
        assert not turn.is_taken


def test_one_that_does_not_give_way_makes_others_busy_whether_they_do_or_not():
    turn = Turn()
    with held(turn, gives_way=False) as stop:
        for gives_way in (False, True):
            with pytest.raises(BusyError), turn.taken(threading.Event(), gives_way=gives_way):
                pass
        with pytest.raises(BusyError):
            turn.require_free()
        assert not stop.is_set()
    turn.require_free()


@pytest.mark.parametrize("gives_way", [False, True])
def test_one_that_was_stopped_is_waited_for(gives_way):
    turn = Turn()
    leaves = threading.Event()
    with held(turn, gives_way=False, leaves=leaves) as stop:
        stop.set()  # as by an accepted answer, while the model computes its last token
        turn.require_free()
        threading.Timer(0.05, leaves.set).start()
        with turn.taken(threading.Event(), gives_way=gives_way):
            assert turn.is_mine


def test_one_that_gives_way_waits_for_others_of_its_kind_and_does_not_stop_them():
    turn = Turn()
    leaves = threading.Event()
    with held(turn, gives_way=True, leaves=leaves) as stop:
        threading.Timer(0.05, leaves.set).start()
        with turn.taken(threading.Event(), 30, gives_way=True):
            assert not stop.is_set()
            assert turn.is_mine


def test_one_that_gives_way_does_not_overtake_one_that_waits_for_the_same_place():
    turn = Turn()
    leaves, order = threading.Event(), []

    def first():
        with turn.taken(threading.Event()):
            order.append("first")

    with held(turn, gives_way=True, leaves=leaves) as stop:
        waiting = threading.Thread(target=first)
        waiting.start()
        assert stop.wait(30)  # it is there, and has asked for the place
        threading.Timer(0.05, leaves.set).start()
        with pytest.raises(BusyError), turn.taken(threading.Event(), 30, gives_way=True):
            order.append("second")
            raise BusyError("it came after the other")
        waiting.join(30)
    assert order[0] == "first"


def test_one_that_gives_way_may_wait_for_one_that_does_not():
    turn = Turn()
    leaves = threading.Event()
    with held(turn, gives_way=False, leaves=leaves) as stop:
        threading.Timer(0.05, leaves.set).start()
        with turn.taken(threading.Event(), 30, gives_way=True):
            assert not stop.is_set()


def test_waiting_ends_when_it_is_stopped():
    turn = Turn()
    stop = threading.Event()
    stop.set()
    leaves = threading.Event()
    with held(turn, gives_way=True, leaves=leaves):
        with pytest.raises(KeyboardInterrupt), turn.taken(stop, 30, gives_way=True):
            pass
        assert turn.is_taken
