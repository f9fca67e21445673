"""What is left of a tunnel when its process is killed, and that a tunnel lives for longer than a thread."""

from pathlib import Path

import trio

from runtime import limits
from tests.tunnels.agents import of_group, open_client, program, running, until
from tests.tunnels.drivers import open_driver

THREADS_IDLE_SECONDS = 10.0  # then Trio ends a worker thread, and PR_SET_PDEATHSIG would kill what it has started


async def test_agent_outlives_the_thread_that_started_it_and_not_the_process(tmp_path: Path) -> None:
    healthy, deaf = program(tmp_path, "ngrok"), program(tmp_path, "ngrok", SCENARIO="deaf")
    async with (
        open_driver(healthy, tmp_path, 60) as driver,
        open_driver(deaf, tmp_path, 60) as doomed,
        open_client() as http,
    ):
        await driver.says("ready ")
        await doomed.says("ready ")
        begun = trio.current_time()
        (group,) = running(deaf)
        doomed.kill()
        await trio.sleep(THREADS_IDLE_SECONDS + 2)
        assert not of_group(group)  # told to end, and killed 5 s later
        assert trio.current_time() - begun > limits.TUNNEL_STOP_SECONDS

        reply = await http.request("POST", f"{driver.url}/tool", seconds=5, json=[1])
        assert (reply.status, reply.json()) == (200, [1])
        (group,) = running(healthy)
        driver.kill()
        await until(lambda: not of_group(group), 2.0)
