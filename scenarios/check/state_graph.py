"""The states of a release, as text and as a Mermaid diagram."""

from collections.abc import Sequence

from scenarios.check.reachable import ReleaseState, SchemaState, StateGraph, Transition

_WAYS = {"forward": "", "back": " (back)", "fault": " (fault)"}
_BASE = "base schema"


def text(graph: StateGraph) -> str:
    """The states in the order of their distance from the start, with how each is reached."""
    states = _named(graph)
    lines = [
        f"{graph.plan.name} · {graph.strategy}: {len(graph.states)} states",
        "",
        "Schemas",
    ]
    lines += [f"  {name}  {_said(schema)}" for name, schema in schema_names(graph).items()]
    lines += ["", "States"]
    for state, name in states.items():
        lines.append(f"  {name}  {_short(graph, state)}{_WAYS[state.way]}")
        path = graph.path(state)
        if path:
            lines.append(f"        from {states[path[-1].before]}: {path[-1].label}")
    return "\n".join(lines) + "\n"


def mermaid(graph: StateGraph) -> str:
    """The graph as a flowchart of Mermaid; ways back are dashed, faults are dotted boxes."""
    states = _named(graph)
    lines = ["flowchart TD"]
    for state, name in states.items():
        box = (
            f'(["{_short(graph, state)}"])'
            if state.way == "fault"
            else (f'["{_short(graph, state)}"]')
        )
        lines.append(f"    {name}{box}")
    for one in graph.transitions:
        arrow = "-->" if one.after.way == "forward" else "-.->"
        lines.append(f"    {states[one.before]} {arrow}|{_escaped(one.label)}| {states[one.after]}")
    return "\n".join(lines) + "\n"


def schemas(graph: StateGraph) -> tuple[SchemaState, ...]:
    """The schemas that a version can tell apart, in the order in which they are reached."""
    found: dict[tuple[str, ...], SchemaState] = {}
    for state in graph.states:
        found.setdefault(state.schema.key, state.schema)
    return tuple(found.values())


def schema_names(graph: StateGraph) -> dict[str, SchemaState]:
    """The schemas by short names: `S0`, `S1` and so on."""
    return {f"S{number}": schema for number, schema in enumerate(schemas(graph))}


def _named(graph: StateGraph) -> dict[ReleaseState, str]:
    return {state: f"s{number}" for number, state in enumerate(graph.states)}


def _short(graph: StateGraph, state: ReleaseState) -> str:
    names = {schema.key: name for name, schema in schema_names(graph).items()}
    serving = " + ".join(state.serving) or "nobody"
    idle = f", {' + '.join(state.idle)} idle" if state.idle else ""
    unrecorded = ", last change unrecorded" if state.schema.unrecorded else ""
    return f"{names[state.schema.key]}{unrecorded}: {serving}{idle}"


def _said(schema: SchemaState) -> str:
    if schema.half is not None:
        return f"{schema.half} half applied: {schema.statements} of its statements"
    return f"after {schema.applied[-1]}" if schema.applied else _BASE


def _escaped(label: str) -> str:
    """The label of an arrow; Mermaid reads text in quotes as it is, but for the quotes."""
    return '"' + label.replace('"', "#quot;") + '"'


def story(path: Sequence[Transition]) -> str:
    """A path in words."""
    return "; ".join(one.label for one in path) or "before the release"
