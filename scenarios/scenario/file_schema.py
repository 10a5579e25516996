"""The JSON Schema of a scenario file, for editors."""

from scenarios.json_schema import described, encode
from scenarios.scenario.spec import IntegritySpec, ReleaseSpec, Scenario
from scenarios.traffic.settings import TrafficSettings


def scenario_schema() -> bytes:
    """The JSON Schema of a scenario file.

    A file that extends another one need not say again what that one says, so nothing in its tables
    is required; where there is no `extends`, it is.
    """
    schema = described(Scenario, "A scenario file of hitless")
    definitions = schema["$defs"]
    required = {
        key: definitions[name].pop("required")
        for key, name in (
            ("release", ReleaseSpec.__name__),
            ("traffic", TrafficSettings.__name__),
            ("integrity", IntegritySpec.__name__),
        )
    }
    scenario = definitions[Scenario.__name__]
    scenario["if"] = {"not": {"required": ["extends"]}}
    scenario["then"] = {
        "required": scenario.pop("required"),
        "properties": {key: {"required": keys} for key, keys in required.items()},
    }
    return encode(schema)
