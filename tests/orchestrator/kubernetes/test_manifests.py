"""Manifests: what is read, what is filled in, and what a run refuses to apply."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kubernetes.jobs import job_name, migration_job
from orchestrator.kubernetes.manifests import (
    ManifestError,
    filled,
    owned,
    read_manifests,
    served,
    uses,
    with_protocols,
)

Json = dict[str, Any]
KNOWN = ("namespace", "version", "database_url")
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"


def thing(kind: str = "ConfigMap", name: str = "a", **more: object) -> Json:
    """An object."""
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **more}


def service(name: str = "web", **selector: str) -> Json:
    """A Service."""
    return thing("Service", name, spec={"selector": selector})


def deployment(name: str = "web", **labels: str) -> Json:
    """A Deployment."""
    return thing("Deployment", name, spec={"template": {"metadata": {"labels": labels}}})


def test_a_folder_is_read_as_kubectl_does(tmp_path: Path) -> None:
    """Its files by name, each with several documents; Lists are taken apart."""
    (tmp_path / "b.yaml").write_text(f"{SERVICE}---\n---\n{SERVICE.replace('web', 'other')}")
    (tmp_path / "a.json").write_text(
        '{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Secret", '
        '"metadata": {"name": "s"}}]}'
    )
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "c.yaml").write_text(SERVICE)
    found = [one["metadata"]["name"] for one in read_manifests(tmp_path)]
    assert found == ["s", "web", "other"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "web.yaml is no YAML: "),
        ("- 1", "expected an object with 'apiVersion' and 'kind'"),
        ("kind: Service", "expected an object with 'apiVersion' and 'kind'"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}", "the Pod has no metadata.name"),
        (f"{SERVICE}---\nx: 1", "web.yaml, document 2: expected an object"),
        ("", "has no manifest"),
    ],
)
def test_what_is_no_manifest_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    """The file and the document are named."""
    file = tmp_path / "web.yaml"
    file.write_text(text)
    with pytest.raises(ManifestError) as caught:
        read_manifests(file)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_kustomization_needs_its_command(tmp_path: Path) -> None:
    """The line has the command to write instead."""
    (tmp_path / "kustomization.yaml").write_text("resources: []")
    with pytest.raises(ManifestError, match=r'write the command .*\["kubectl", "kustomize", "'):
        read_manifests(tmp_path)


def test_strings_are_filled_in_and_nothing_else() -> None:
    """Placeholders of others, shell variables and braces stay as they are."""
    values = {"version": "b", "database_url": "postgresql://u:p@h/n?x={version}"}
    found = filled(
        thing(
            data={"{version}": ["i:{version}", "${version}", "{{version}}", "{other}", 3]}, n=None
        ),
        values,
        KNOWN,
    )
    assert found["data"] == {"{version}": ["i:b", "${version}", "{{version}}", "{other}", 3]}
    once = filled(thing(data="{database_url}"), values, KNOWN)
    assert once["data"] == "postgresql://u:p@h/n?x={version}"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{database_url}", "configmap/a: {database_url} has no value here"),
        ("{databse_url}", "configmap/a: {databse_url}: did you mean {database_url}?"),
        ({"version": None}, "configmap/a: write quotes around {version}"),
    ],
)
def test_a_placeholder_without_a_value_is_refused(data: object, said: str) -> None:
    """So that no pod starts with it."""
    with pytest.raises(ManifestError) as caught:
        filled(thing(data=data), {"version": "b"}, KNOWN)
    assert said in str(caught.value)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_characters="{}")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=20,
)


@given(TREES)
def test_an_object_without_placeholders_stays_as_it_is(data: object) -> None:
    """Whatever it holds."""
    before = thing(data=data)
    assert filled(before, {"version": "b"}, KNOWN) == before
    assert not uses([before], "version")


def test_an_object_is_labelled_and_put_into_the_namespace() -> None:
    """Its own labels stay, and an object of another namespace is refused."""
    one = thing()
    one["metadata"]["labels"] = {"app": "web", "m": "Helm"}
    found = owned(one, "ns", {"m": "hitless", "run": "r"})
    assert found["metadata"] == {
        "name": "a",
        "namespace": "ns",
        "labels": {"m": "Helm", "run": "r", "app": "web"},
    }
    assert owned(found, "ns", {})["metadata"]["namespace"] == "ns"
    with pytest.raises(ManifestError, match="configmap/a belongs to the namespace 'ns'"):
        owned(found, "other", {})


def test_each_port_has_its_protocol() -> None:
    """As the API would give it one; a protocol that is named stays, and no other list changes."""
    ports = [{"port": 80}, {"port": 53, "protocol": "UDP"}]
    one = with_protocols(thing("Service", spec={"ports": ports}))
    assert one["spec"]["ports"] == [{"protocol": "TCP", "port": 80}, ports[1]]
    container = {"name": "web", "ports": [{"containerPort": 80}]}
    pod = with_protocols(thing("Pod", spec={"containers": [container], "ports": [{"port": 1}]}))
    assert pod["spec"]["containers"][0]["ports"] == [{"protocol": "TCP", "containerPort": 80}]
    assert pod["spec"]["ports"] == [{"port": 1}]


def test_the_service_and_its_deployment_are_found() -> None:
    """By the selector; other Deployments may be there."""
    wanted = deployment(app="web", tier="front")
    found = served([service(app="web")], [deployment("db", app="db"), wanted], None)
    assert found == (service(app="web"), wanted)
    assert served([service("a", app="x"), service(app="web")], [wanted], "web")[1] == wanted


@pytest.mark.parametrize(
    ("services", "name", "said"),
    [
        ([], None, "users request one Service, and there are: none"),
        ([service("a"), service("b")], None, "there are: a, b; name it in platform.service"),
        ([service("a")], "web", "there is no service/web; there are: a"),
        (
            [service(app="wed")],
            None,
            "service/web selects pods with app=wed, and those of deployment/web have app=web",
        ),
        ([service()], None, "selects pods with no label at all"),
    ],
)
def test_a_service_that_leads_nowhere_is_refused(
    services: list[Json], name: str | None, said: str
) -> None:
    """Both sets of labels are named."""
    with pytest.raises(ManifestError) as caught:
        served(services, [deployment(app="web")], name)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("newsletter_app:migrations/big_bang", "migrate-2-big-bang"),
        ("../db/Migrations/", "migrate-2-migrations"),
        ("alembic", "migrate-2-alembic"),
        ("x" * 100, "migrate-2-" + "x" * 53),
    ],
)
def test_a_job_is_named_after_its_step(what: str, name: str) -> None:
    """So that its name can be read in a verdict, and is one that a cluster accepts."""
    assert job_name(2, what) == name


def test_a_job_runs_once() -> None:
    """A migration that failed is not begun again by the cluster, nor does it run for ever."""
    job = migration_job(
        "m", image="i", command=["x"], env={"A": "1"}, labels={"l": "1"}, deadline_seconds=0.2
    )
    spec = job["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 1)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert job["metadata"]["labels"] == spec["template"]["metadata"]["labels"] == {"l": "1"}
