"""PURE: Envoy's configuration, and the file of its endpoints.

Our configuration overrides three defaults, because each of them sends requests to replicas that are
gone or were never checked: `no_traffic_interval` (a cluster without traffic is checked once a
minute), `healthy_panic_threshold` (with most hosts unhealthy, health is ignored) and
`ignore_health_on_host_removal` (a removed host stays as long as its check passes). A configuration
of the user's is used as it is.
"""

from pathlib import Path
from typing import Any

import msgspec

from orchestrator.routers.logs import envoy as log_lines
from orchestrator.routers.managed import Table, integers
from orchestrator.routers.settings import HealthCheck

PLACES = {
    "listen": "into the listener that users reach, for its address",
    "log": "into that listener's HttpConnectionManager, for its access_log",
    "backends": "into the cluster of the application, for its type and endpoints",
}
"""The marks of a user's own configuration."""

_MOST = 10_000
_SERVICE = "hitless"
_API = "type.googleapis.com/envoy"
OVER_ANY = {
    "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
    "node": {"id": "hitless", "cluster": "hitless"},
}
"""What is merged over any configuration (`--config-yaml`)."""


def listen_lines(address: str) -> tuple[str, ...]:
    """PURE: what the mark `listen` becomes."""
    return (f"address: {_json(_address(address))}",)


def log_blocks(path: Path) -> tuple[str, ...]:
    """PURE: what the mark `log` becomes."""
    return ("preserve_external_request_id: true", f"access_log: {_json(_access_log(path))}")


def backend_lines(endpoints: Path) -> tuple[str, ...]:
    """PURE: what the mark `backends` becomes."""
    return ("type: EDS", f"eds_cluster_config: {_json(_eds(endpoints))}")


def default_document(health: HealthCheck, address: str, log: Path, endpoints: Path) -> Any:  # noqa: ANN401 - JSON
    """PURE: the configuration without one of the user's."""
    check = {
        "timeout": _seconds(health.timeout),
        "interval": _seconds(health.interval),
        "no_traffic_interval": _seconds(health.interval),
        "unhealthy_interval": _seconds(health.fast_interval),
        "unhealthy_threshold": health.fall,
        "healthy_threshold": health.rise,
        "http_health_check": {"path": health.path},
    }
    manager = {
        "@type": f"{_API}.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "users",
        "preserve_external_request_id": True,
        "access_log": _access_log(log),
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_API}.extensions.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "users",
                    "domains": ["*"],
                    "response_headers_to_add": [
                        {"header": {"key": "X-Served-By", "value": "%UPSTREAM_HOST_NAME%"}}
                    ],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}],
                }
            ]
        },
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "users",
                    "address": _address(address),
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": manager,
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "app",
                    "type": "EDS",
                    "eds_cluster_config": _eds(endpoints),
                    "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
                    "ignore_health_on_host_removal": True,
                    "health_checks": [check],
                }
            ],
        }
    }


def endpoints_of(table: Table) -> Any:  # noqa: ANN401 - JSON
    """PURE: the endpoints of a table; standbys are checked, and get nothing, as `DRAINING`."""
    weights = integers({name: one.weight for name, one in table.items() if one.active}, _MOST)
    return {
        "resources": [
            {
                "@type": f"{_API}.config.endpoint.v3.ClusterLoadAssignment",
                "cluster_name": _SERVICE,
                "endpoints": [
                    {
                        "lb_endpoints": [
                            {
                                "endpoint": {
                                    "hostname": name,
                                    "address": _address(one.replica.address),
                                },
                                "health_status": "HEALTHY" if one.active else "DRAINING",
                                "load_balancing_weight": weights.get(name, 1),
                            }
                            for name, one in table.items()
                        ]
                    }
                ],
            }
        ]
    }


def _address(address: str) -> dict[str, dict[str, str | int]]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def _access_log(path: Path) -> list[dict[str, Any]]:
    return [
        {
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": f"{_API}.extensions.access_loggers.file.v3.FileAccessLog",
                "path": str(path),
                "log_format": {"json_format": log_lines.FORMAT},
            },
        }
    ]


def _eds(endpoints: Path) -> dict[str, Any]:
    source = {"path_config_source": {"path": str(endpoints)}, "resource_api_version": "V3"}
    return {"service_name": _SERVICE, "eds_config": source}


def _seconds(value: float) -> str:
    return f"{value:.3f}s"


def _json(document: object) -> str:
    return msgspec.json.encode(document).decode()
