"""The pools of `backmarket worker` are those of the compose file and of Kubernetes; none is without a worker."""

from __future__ import annotations

import pytest
import yaml

from backmarket.cli.workers import PoolName
from backmarket.messages import QUEUES
from backmarket.standalone.pools import ALL, DEPLOYMENT, FLEET, Pool
from backmarket.standalone.programs import CHECKOUT


@pytest.mark.parametrize("pool", DEPLOYMENT, ids=lambda pool: pool.name)
def test_a_deployment_has_each_pool_as_it_is(pool: Pool) -> None:
    services = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"]
    wanted = ["-Q", ",".join(pool.queues), "-c", str(pool.concurrency)]
    assert services[f"worker-{pool.name}"]["command"][-4:] == wanted
    deployment, *_ = yaml.safe_load_all((CHECKOUT / "deploy" / "kubernetes" / f"worker-{pool.name}.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"] == wanted


def test_the_command_knows_each() -> None:
    assert {*PoolName} == {pool.name for pool in (*DEPLOYMENT, ALL)}


@pytest.mark.parametrize("pools", [DEPLOYMENT, FLEET, (ALL,)], ids=["deployment", "fleet", "all"])
def test_every_queue_has_a_worker(pools: tuple[Pool, ...]) -> None:
    assert sorted(queue for pool in pools for queue in pool.queues) == sorted(set(QUEUES.values()))
