"""Supervision: OTP's ideas by Trio's means. It knows no actor by name.

- Children start in order: `start` returns when the child has called `started()`.
- Children stop in reverse order, each within its own time: a child's scope is shielded from the outside,
  so that cancelling the call cancels the supervisor, which then stops its children one by one.
- A *significant* child's end, however it comes, ends the supervisor's life: the body of `open_supervisor`
  is cancelled. Another child's error ends it too, unless the child may be restarted and its budget lasts.
- The actor barrier is here: an actor's error is logged first, then decided upon, and never goes further.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import attrs
import structlog
import trio

from runtime import limits
from runtime.errors import CallError


class Started(Protocol):
    def started(self, value: None = None, /) -> None: ...


class Actor(Protocol):
    async def run(self, task_status: Started) -> Any:
        """Work until done. The return value is a fact about the end; an error is an error."""


@attrs.frozen
class Restart:
    """At most `max_restarts` within `period_seconds`."""

    max_restarts: int = limits.RESTARTS
    period_seconds: float = limits.RESTART_PERIOD_SECONDS


@attrs.frozen
class Exit:
    """How a child ended: by itself with a result, with an error, or because it was told to."""

    name: str
    result: Any = None
    error: Exception | None = None
    stopped: bool = False


@attrs.frozen
class ChildState:
    """A child as it is: `starting`, `running`, `ended` or `failed`; `restarts`: within the period that counts."""

    name: str
    state: str
    restarts: int
    significant: bool


@attrs.define
class _Child:
    name: str
    make: Callable[[], Actor]
    significant: bool
    restart: Restart | None
    stop_seconds: float
    finish: Callable[[], None] | None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ready: trio.Event = attrs.field(factory=trio.Event)
    done: trio.Event = attrs.field(factory=trio.Event)
    restarts: deque[float] = attrs.field(factory=deque)
    stopping: bool = False
    state: str = "starting"

    def started(self, _value: None = None) -> None:
        self.state = "running"
        self.ready.set()

    def may_restart(self) -> bool:
        if self.restart is None or self.stopping:
            return False
        now = trio.current_time()
        while self.restarts and self.restarts[0] <= now - self.restart.period_seconds:
            self.restarts.popleft()
        self.restarts.append(now)
        return len(self.restarts) <= self.restart.max_restarts


class StartFailed(Exception):
    """A child was not ready in time."""


@attrs.define
class Supervisor:
    """Open one with `open_supervisor`. `exits` lists the children's ends in the order they came."""

    name: str
    _log: structlog.typing.FilteringBoundLogger
    _nursery: trio.Nursery
    _life: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _children: list[_Child] = attrs.field(factory=list)
    exits: list[Exit] = attrs.field(factory=list)
    ends_at: float | None = None
    """When the end began, on Trio's clock: the children are stopped then, or have been."""

    async def start(
        self,
        name: str,
        make: Callable[[], Actor],
        *,
        significant: bool = False,
        restart: Restart | None = None,
        stop_seconds: float = limits.CHILD_STOP_SECONDS,
        finish: Callable[[], None] | None = None,
    ) -> None:
        """Start a child and wait until it is ready. `make` gives a fresh actor for every (re)start.

        To stop, a child is cancelled; with `finish`, it is asked to finish and has `stop_seconds` for it.

        Raises StartFailed when the child is not ready in time. Cancelled, also by the child's own end:
        the child stays, and is stopped with the others.
        """
        child = _Child(name, make, significant, restart, stop_seconds, finish)
        self._children.append(child)
        self._nursery.start_soon(self._keep, child, name=f"{self.name} {name}")
        with trio.move_on_after(limits.CHILD_START_SECONDS):
            await child.ready.wait()
        if not child.ready.is_set():
            raise StartFailed(f"{name} was not ready after {limits.CHILD_START_SECONDS:g} s")

    def end(self) -> None:
        """End the life of this supervisor, as a significant child's end would."""
        self._life.cancel()

    async def wait(self) -> None:
        """Wait for the end. It comes as cancellation of the body, so this never returns."""
        await trio.sleep_forever()

    async def _keep(self, child: _Child) -> None:
        while True:
            exit_ = await self._run_once(child)
            if exit_.error is None or not child.may_restart():
                break
            self._log.warning("actor_restarted", actor=child.name, restarts=len(child.restarts))
        child.state = "failed" if exit_.error else "ended"
        self.exits.append(exit_)
        child.done.set()
        child.ready.set()
        if (child.significant or exit_.error is not None) and not child.stopping:
            self._life.cancel()

    async def _run_once(self, child: _Child) -> Exit:
        """One life of one actor, behind the actor barrier."""
        result: Any = None
        structlog.contextvars.bind_contextvars(actor=child.name)  # for all lines of this task and its children
        try:
            actor = child.make()
            child.scope = trio.CancelScope(shield=True)  # only `_stop` cancels it, and that has a deadline
            if child.stopping:
                child.scope.cancel()
            with child.scope:
                result = await actor.run(child)
        except Exception as exc:  # noqa: BLE001  # the actor barrier
            # Logged here and now: an error raised while being cancelled would be lost otherwise.
            if isinstance(exc, CallError):
                self._log.warning("actor_ended_the_call", actor=child.name, why=str(exc))
            else:
                self._log.error("actor_failed", actor=child.name, exc_info=exc)
            return Exit(child.name, error=exc)
        if child.scope.cancelled_caught:
            return Exit(child.name, stopped=True)
        return Exit(child.name, result=result)

    async def _stop(self) -> None:
        self.ends_at = trio.current_time()
        for child in reversed(self._children):
            child.stopping = True
            if child.finish is not None:
                child.finish()
                await self._wait_for(child, child.stop_seconds)
            child.scope.cancel()
            await self._wait_for(child, child.stop_seconds if child.finish is None else limits.CHILD_STOP_SECONDS)
            if not child.done.is_set():
                self._log.error("actor_would_not_stop", actor=child.name, after_seconds=child.stop_seconds)

    @staticmethod
    async def _wait_for(child: _Child, seconds: float) -> None:
        with trio.move_on_after(seconds, shield=True):
            await child.done.wait()

    def children(self) -> tuple[ChildState, ...]:
        return tuple(ChildState(one.name, one.state, len(one.restarts), one.significant) for one in self._children)

    def __repr__(self) -> str:
        children = ", ".join(
            f"{child.name} {child.state}" + (f" (restarts: {child.restarts})" if child.restarts else "")
            for child in self.children()
        )
        return f"<{self.name}: {children}>"


@asynccontextmanager
async def open_supervisor(name: str, log: structlog.typing.FilteringBoundLogger) -> AsyncIterator[Supervisor]:
    """The body starts children and waits; it is cancelled at the end of a significant child.

    An exception of the body comes out as it is, after the children have stopped.
    """
    body_error: Exception | None = None
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(name, log, nursery)
        try:
            with supervisor._life:
                yield supervisor
        except Exception as exc:  # noqa: BLE001  # not swallowed: raised below, unwrapped, once the children are gone
            body_error = exc
        finally:
            await supervisor._stop()  # noqa: ASYNC102  # every wait in it is shielded and bounded
    if body_error is not None:
        raise body_error
