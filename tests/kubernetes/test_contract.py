"""Pods and a Service run through the contracts of all platforms and routers.

The cases are those of processes. What is left out has no meaning for a pod: a wrapper that swallows
the signal (the end of a container's first process ends all others) and when a port was closed (no
API tells). What a Service cannot do has cases of its own there, which it passes here.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract import test_platform_contract as platforms
from tests.contract import test_router_contract as routers
from tests.kubernetes.contract_subject import subject
from tests.kubernetes.support import Shop

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(240)]

Case = Callable[[Any], Awaitable[None]]
CASES: tuple[Case, ...] = (
    platforms.test_a_replica_from_start_to_stop,
    platforms.test_replicas_do_not_share_an_address,
    platforms.test_a_replica_that_dies_says_why,
    platforms.test_a_replica_that_is_killed,
    platforms.test_a_replica_that_ignores_its_stop,
    platforms.test_how_a_replica_ended,
    routers.test_registered_is_not_attached,
    routers.test_only_the_healthy_are_up,
    routers.test_without_weights_all_that_serve_are_alike,
    routers.test_switch_is_all_or_nothing,
    routers.test_a_drain_may_keep_idle_connections_in_use,
    routers.test_drained_can_be_removed_and_forgotten,
    routers.test_counts_are_by_replica,
    routers.test_registering_again_changes_nothing,
    routers.test_admission_takes_no_less_than_it_says,
    routers.test_a_router_that_does_not_cut_says_what_it_leaves,
    routers.test_a_drain_that_waits_for_nothing_ends_before_the_request,
    routers.test_in_flight_is_counted_or_said_not_to_be,
    routers.test_who_checks_its_backends_leaves_a_sick_one,
    routers.test_a_change_leaves_clients_their_connections,
    routers.test_a_replica_that_leaves_costs_nothing,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("test_"))
async def test_the_contract_holds_on_kubernetes(case: Case, shop: Shop, tmp_path: Path) -> None:
    """A case of the contract of a platform or a router holds for pods behind a Service."""
    async with subject(shop, tmp_path) as given:
        await case(given)
