"""The lifecycle methods of the published SDK, sync and async, against a server that simulates its node."""

import asyncio
import datetime

from e2b import (
    AsyncSandbox,
    AuthenticationException,
    SandboxException,
    NotFoundException,
    Sandbox,
    SandboxNotFoundException,
    SandboxQuery,
    SandboxState,
)


def refused(exception, call, says):
    try:
        call()
    except exception as error:
        assert says in str(error), f"{says!r} is not in {error!r}"
    else:
        raise AssertionError(f"{exception.__name__} was expected")


def everything(paginator):
    found = []
    while paginator.has_next:
        found += paginator.next_items()
    return [info.sandbox_id for info in found]


def sync():
    made = [
        Sandbox.create(timeout=120, metadata={"n": str(n), "a b": "c&d=é+%"}, envs={"X": "1"})
        for n in range(5)
    ]
    ids = [sandbox.sandbox_id for sandbox in made]
    first = made[0]

    info = first.get_info()
    assert info.sandbox_id == first.sandbox_id and info.template_id == "base", info
    assert info.metadata == {"n": "0", "a b": "c&d=é+%"}, info
    assert info.state == SandboxState.RUNNING and info.envd_version == "0.6.13", info
    assert info.end_at - info.started_at == datetime.timedelta(seconds=120), info
    assert info.cpu_count == 2 and info.memory_mb == 512, info
    assert Sandbox.get_info(first.sandbox_id).sandbox_id == first.sandbox_id

    assert set(everything(Sandbox.list())) == set(ids)
    assert sorted(everything(Sandbox.list(limit=2))) == sorted(ids)
    assert everything(Sandbox.list(query=SandboxQuery(metadata={"n": "3"}))) == [ids[3]]
    both = SandboxQuery(metadata={"a b": "c&d=é+%"}, state=[SandboxState.RUNNING])
    assert len(everything(Sandbox.list(query=both, limit=3))) == 5
    assert everything(Sandbox.list(query=SandboxQuery(state=[SandboxState.PAUSED]))) == []

    first.set_timeout(600)
    assert first.get_info().end_at - info.started_at == datetime.timedelta(seconds=600)
    again = Sandbox.connect(first.sandbox_id, timeout=60)
    assert again.sandbox_id == first.sandbox_id
    assert first.get_info().end_at - info.started_at == datetime.timedelta(seconds=600), "never shorter"

    assert first.pause() is not False
    assert first.get_info().state == SandboxState.PAUSED
    assert first.pause() is False, "it is paused already"
    assert everything(Sandbox.list(query=SandboxQuery(state=[SandboxState.PAUSED]))) == [ids[0]]
    refused(NotFoundException, lambda: Sandbox.set_timeout(first.sandbox_id, 5), "")
    resumed = first.connect(timeout=300)
    assert resumed.sandbox_id == first.sandbox_id
    assert first.get_info().state == SandboxState.RUNNING

    metrics = first.get_metrics()
    assert len(metrics) >= 1 and metrics[0].cpu_count == 2, metrics
    assert metrics[0].mem_total == 512 << 20, metrics

    first.update_network({"allow_out": ["8.8.8.8"], "deny_out": ["0.0.0.0/0"]})
    refused(
        SandboxException,
        lambda: Sandbox.create(network={"allow_out": ["example.com"]}),
        "needs '0.0.0.0/0'",
    )
    private = Sandbox.create(network={"allow_public_traffic": False}, allow_internet_access=False)
    assert len(private.traffic_access_token) >= 32
    assert private.kill()

    never = Sandbox.create(lifecycle={"on_timeout": "pause", "auto_resume": True})
    told = never.get_info()
    assert told.lifecycle["on_timeout"] == "pause" and told.lifecycle["auto_resume"], told
    assert never.kill()

    forever = Sandbox.create(headers={"Casemate-Never": "true", "Casemate-Idle-Timeout": "600"})
    assert forever.get_info().end_at.year == 9999
    assert forever.kill()

    refused(SandboxException, lambda: Sandbox.create(template="nowhere"), "template 'nowhere' not found")
    refused(SandboxNotFoundException, lambda: Sandbox.connect("i00000000000000000000"), "")
    refused(SandboxNotFoundException, lambda: Sandbox.get_info("i00000000000000000000"), "")
    refused(AuthenticationException, lambda: Sandbox.create(api_key="e2b_" + "0" * 40), "not valid")

    for sandbox in made:
        assert Sandbox.kill(sandbox.sandbox_id) is True
        assert sandbox.kill() is False
    assert everything(Sandbox.list()) == []


async def asynchronous():
    made = await asyncio.gather(*[AsyncSandbox.create(timeout=120, metadata={"n": str(n)}) for n in range(4)])
    paginator = AsyncSandbox.list(limit=3)
    found = []
    while paginator.has_next:
        found += await paginator.next_items()
    assert {info.sandbox_id for info in found} == {sandbox.sandbox_id for sandbox in made}

    one = made[0]
    await one.set_timeout(300)
    info = await one.get_info()
    assert info.end_at - info.started_at == datetime.timedelta(seconds=300), info
    assert await one.pause() is not False
    assert await one.pause() is False
    assert (await one.get_info()).state == SandboxState.PAUSED
    connected = await AsyncSandbox.connect(one.sandbox_id)
    assert connected.sandbox_id == one.sandbox_id
    assert (await one.get_info()).state == SandboxState.RUNNING
    assert len(await one.get_metrics()) >= 1
    await one.update_network({"allow_internet_access": False})
    assert await asyncio.gather(*[sandbox.kill() for sandbox in made]) == [True] * 4
    assert await one.kill() is False


sync()
asyncio.run(asynchronous())
