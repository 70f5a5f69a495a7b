"""compose.yaml, as `docker compose config` reads it: the promises for every container
(docs/reference/services.md).
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from mysite.environment import Environment
from sluice_stack.environment import BUILD, OPERATOR, rows

ROOT = Path(__file__).parents[2]
TABLE = rows(Environment)
Service = dict[str, Any]

TRAFFIC = [
    "nginx",
    "wsgi",
    "asgi",
    "worker",
    "celery",
    "beat",
    "rabbitmq",
    "postgres",
    "prometheus",
    "migrate",
    "init",
]
ONE_SHOTS = {"migrate", "init"}
APPLICATION = {"wsgi", "asgi", "worker", "celery", "beat"}
NETWORKS = {
    "nginx": {"front", "web"},
    "wsgi": {"web", "broker", "data"},
    "asgi": {"web", "broker", "data"},
    "worker": {"broker", "data"},
    "celery": {"broker", "data"},
    "beat": {"broker", "data"},
    "rabbitmq": {"broker"},
    "postgres": {"data"},
    "prometheus": {"web", "broker"},
    "migrate": {"data"},
    "init": set(),
}
WAITS_FOR = {
    "nginx": {},
    **{name: {"migrate": "service_completed_successfully"} for name in APPLICATION},
    "migrate": {"init": "service_completed_successfully", "postgres": "service_healthy"},
    "postgres": {},  # not init: each release would recreate it too
    "rabbitmq": {},
    "prometheus": {},
    "init": {},
}
SECRETS = {
    "django_secret_key": 2301,
    "admin_password": 2302,
    "db_owner": 2310,
    "db_wsgi": 2311,
    "db_asgi": 2312,
    "db_worker": 2313,
    "db_celery": 2314,
    "db_beat": 2315,
    "mq_layer": 2320,
    "mq_publisher": 2321,
    "mq_celery": 2322,
    "mq_tasks": 2323,
}
KEYS = """
    << profiles scale image build pull_policy command hostname user group_add environment env_file depends_on
    network_mode networks ports volumes tmpfs sysctls pids_limit mem_limit cpu_shares healthcheck restart
    stop_signal stop_grace_period
"""


def config(*arguments: str, **environment: str) -> dict[str, Any]:
    """Compose's view of the file, without this machine's `.env` and environment."""
    done = subprocess.run(
        ["docker", "compose", "--env-file", "/dev/null", *arguments, "config", "--format", "json"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="module")
def stack() -> dict[str, Any]:
    return config("--profile", "monitoring")


@pytest.fixture(params=TRAFFIC)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def service(stack: dict[str, Any], name: str) -> Service:
    found: Service = stack["services"][name]
    return found


def seconds(text: str) -> float:
    """Seconds of a duration like "1m15s"."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))


# --- the file ---


def test_nginx_has_ports_for_one_storm_after_another() -> None:
    """Without these, a second reconnect of 5,000 clients within a minute takes 10 to 28 s instead of 4 s."""
    sysctls = source()["services"]["nginx"]["sysctls"]
    assert sysctls["net.ipv4.tcp_tw_reuse"] == "1"
    low, high = map(int, sysctls["net.ipv4.ip_local_port_range"].split())
    assert high - low > 50_000


def test_the_services_are_in_the_order_of_the_traffic() -> None:
    assert list(source()["services"]) == TRAFFIC


def test_the_keys_of_a_service_are_in_one_order(name: str) -> None:
    keys = list(source()["services"][name])
    assert keys == sorted(keys, key=KEYS.split().index)


def test_every_variable_is_a_setting_with_the_same_default() -> None:
    text = (ROOT / "compose.yaml").read_text()
    used = set(re.findall(r"\$\{([A-Z_]+):-((?:[^{}]|\$\{[^{}]*\})*)\}", text))
    assert len(used) >= 15
    for variable, default in used:
        assert TABLE[variable].who in (OPERATOR, BUILD), variable
        if variable == "SITE_URL":
            assert default == "http${HTTPS_PORT:+s}://localhost:${HTTPS_PORT:-${HTTP_PORT:-8080}}"
        elif (variable, default) != ("HTTPS_PORT", "${HTTP_PORT:-8080}"):  # the second port's default
            assert default == TABLE[variable].default, variable
    assert text.count("${") == len(re.findall(r"\$\{[A-Z_]+:[-+]", text)), "a variable has no default"


def test_nothing_has_to_be_filled_in_and_the_port_follows() -> None:
    assert config(HTTP_PORT="9000")["services"]["wsgi"]["environment"]["SITE_URL"] == "http://localhost:9000"


def test_with_tls_there_is_a_second_port_and_the_address_is_its_own() -> None:
    services = config(HTTP_PORT="9000", HTTPS_PORT="9443", TLS="self-signed")["services"]
    ports = [(port["published"], port["target"]) for port in services["nginx"]["ports"]]
    assert ports == [("9000", 8080), ("9443", 18080)]
    assert {services[name]["environment"]["SITE_URL"] for name in APPLICATION} == {"https://localhost:9443"}
    assert {services[name]["environment"]["TLS"] for name in ("nginx", "wsgi")} == {"self-signed"}


def test_the_version_is_that_of_the_repository(stack: dict[str, Any]) -> None:
    version = (ROOT / "VERSION").read_text().strip()
    built = [service["build"]["args"] for service in stack["services"].values() if "build" in service]
    assert {arguments["VERSION"] for arguments in built} == {version}


# --- each container ---


def test_it_runs_with_the_least_that_it_needs(service: Service) -> None:
    user, group = map(int, service["user"].split(":"))
    assert user and group
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    forbidden = "cap_add privileged ulimits container_name devices pid ipc userns_mode extra_hosts"
    assert not set(forbidden.split()) & set(service)
    assert all("size=" in mount for mount in service["tmpfs"])


def test_it_has_limits(service: Service) -> None:
    assert 0 < float(service["cpus"]) <= 1
    assert 0 < service["pids_limit"] <= 256
    assert 0 < int(service["mem_limit"]) <= 640 * 2**20
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


def test_all_of_them_fit_a_machine_with_4_gib() -> None:
    running = [service for name, service in config()["services"].items() if name not in ONE_SHOTS]
    assert sum(int(service["mem_limit"]) for service in running) <= 3.5 * 2**30


def test_it_ends_and_starts_as_it_should(name: str, service: Service) -> None:
    assert service["restart"] == ("no" if name in ONE_SHOTS else "unless-stopped")
    assert service["stop_signal"] == {"nginx": "SIGQUIT", "postgres": "SIGINT"}.get(name, "SIGTERM")
    assert seconds(service["stop_grace_period"]) >= 10


def test_it_has_a_health_check(name: str, service: Service) -> None:
    if name in ONE_SHOTS:
        assert "healthcheck" not in service
        return
    check = service["healthcheck"]
    assert check["test"][0] == "CMD"
    assert not {"python", "curl", "rabbitmqctl", "rabbitmq-diagnostics"} & set(check["test"])
    assert (check["interval"], check["timeout"], check["retries"]) == ("10s", "5s", 3)
    assert (check["start_period"], check["start_interval"]) == ("1m0s", "1s")


def test_it_waits_for_the_services_it_needs(name: str, service: Service) -> None:
    waits = {other: rule["condition"] for other, rule in service.get("depends_on", {}).items()}
    assert waits == WAITS_FOR[name]


# --- networks, volumes, secrets ---


def test_prometheus_is_for_those_who_ask_for_it() -> None:
    assert "prometheus" not in config()["services"]
    services = config(MONITORING="yes", COMPOSE_PROFILES="monitoring")["services"]
    told = {
        name
        for name, service in services.items()
        if service.get("environment", {}).get("MONITORING") == "yes"
    }
    assert told == APPLICATION | {"nginx", "rabbitmq"}


def test_only_nginx_is_published_and_only_here(stack: dict[str, Any]) -> None:
    services = stack["services"]
    assert [name for name in services if services[name].get("ports")] == ["nginx"]
    (port,) = services["nginx"]["ports"]
    assert (port["host_ip"], port["published"]) == ("127.0.0.1", "8080")


def test_it_is_on_the_networks_of_its_relations(name: str, service: Service) -> None:
    assert set(service.get("networks", {})) == NETWORKS[name]
    assert service.get("network_mode") == ("none" if name == "init" else None)


def test_only_the_front_leads_outside(stack: dict[str, Any]) -> None:
    assert {name: bool(network.get("internal")) for name, network in stack["networks"].items()} == {
        "front": False,
        "web": True,
        "broker": True,
        "data": True,
    }


def test_all_that_is_mounted_is_a_named_volume(service: Service) -> None:
    assert {volume["type"] for volume in service.get("volumes", [])} <= {"volume"}


def test_one_service_writes_each_volume_but_the_downloads(stack: dict[str, Any]) -> None:
    writers: dict[str, set[str]] = {}
    for name, service in stack["services"].items():
        for volume in service.get("volumes", []):
            if not volume.get("read_only"):
                writers.setdefault(volume["source"], set()).add(name)
    assert writers == {
        "secrets": {"init"},
        "volumes": {"migrate"},
        "static": {"migrate"},
        "media": {"celery", "beat"},
        "tls": {"nginx"},
        "postgres": {"postgres"},
        "rabbitmq": {"rabbitmq"},
        "prometheus": {"prometheus"},
    }


def test_it_belongs_to_the_groups_of_the_secrets_that_it_reads(name: str, service: Service) -> None:
    environment = service.get("environment", {})
    wanted = {SECRETS[Path(environment[key]).name] for key in environment if key.endswith("_FILE")}
    if name == "init":
        wanted = set(SECRETS.values())
    elif name == "postgres":
        wanted = {group for file, group in SECRETS.items() if file.startswith("db_")}
    elif name == "rabbitmq":
        wanted = {group for file, group in SECRETS.items() if file.startswith("mq_")}
    elif name == "nginx":
        wanted = {33}  # the group of the downloads
    assert sorted(map(int, service.get("group_add", []))) == sorted(wanted)


def test_no_secret_is_in_an_environment(service: Service) -> None:
    for value in service.get("environment", {}).values():
        assert urlsplit(value).password is None


def test_it_is_given_the_settings_that_are_meant_for_it(name: str, service: Service) -> None:
    if name in ("nginx", "rabbitmq", "postgres", "prometheus"):
        return
    for variable in service["environment"]:
        services = TABLE[variable].services.split()
        assert "all" in services or name in services or name == "init", variable
    assert service["environment"]["SLUICE_SERVICE"] == name


def test_each_setting_of_the_operator_reaches_each_service_that_reads_it(name: str, service: Service) -> None:
    published = {"HTTP_PORT", "HTTP_BIND"}  # compose itself uses these
    for variable, row in TABLE.items():
        services = row.services.split()
        reads = name in services or ("all" in services and name in APPLICATION | {"migrate"})
        if row.who == OPERATOR and reads and variable not in published:
            assert variable in service["environment"], variable


# --- images ---


def test_each_image_is_built_by_one_service_and_never_pulled(stack: dict[str, Any]) -> None:
    builders: dict[str, str] = {}
    for name, service in stack["services"].items():
        assert service["image"].startswith("sluice-") and service["image"].endswith(":latest")
        if "build" in service:
            assert builders.setdefault(service["image"], name) == name, "two services build this image"
            assert service["pull_policy"] == "build"
        else:
            assert service["pull_policy"] == "never"
    assert {service["image"] for service in stack["services"].values()} == set(builders)


def test_builds_trust_only_the_given_certificates(stack: dict[str, Any]) -> None:
    for service in stack["services"].values():
        if build := service.get("build"):
            assert build["context"] == str(ROOT)
            assert build["args"]["BASE_IMAGE"] == "debian:trixie-slim"
            contexts = {"ca-certificates": str(ROOT / "images/base/ca-certificates")}
            if build["dockerfile"] == "images/app/Dockerfile":
                contexts["site"] = str(ROOT / "app")
            assert build["additional_contexts"] == contexts
            assert (ROOT / build["dockerfile"]).is_file()


def test_the_tag_and_the_base_can_be_chosen() -> None:
    services = config(IMAGE_TAG="v2", BASE_IMAGE="sluice-base")["services"]
    assert {service["image"].partition(":")[2] for service in services.values()} == {"v2"}
    assert services["asgi"]["build"]["args"]["BASE_IMAGE"] == "sluice-base"


# --- another site ---


def test_another_site_is_built_into_the_applications_images_alone() -> None:
    services = config(SITE="../guestbook", SITE_SETTINGS="guestbook.settings")["services"]
    built = {
        name
        for name, service in services.items()
        if "site" in service.get("build", {}).get("additional_contexts", {})
    }
    assert built == {"wsgi", "asgi", "worker"}
    for name in built:
        build = services[name]["build"]
        assert build["additional_contexts"]["site"] == str(ROOT.parent / "guestbook")
        assert build["args"]["SITE_SETTINGS"] == "guestbook.settings"


@pytest.mark.parametrize("service", ["worker", "celery", "beat", "rabbitmq"])
def test_a_service_that_a_site_does_not_need_is_off(service: str) -> None:
    services = config(**{f"{service.upper()}_CONTAINERS": "0"})["services"]
    assert {name for name in services if services[name].get("scale") == 0} == {service}


def test_gunicorn_may_write_uploads_if_told(stack: dict[str, Any]) -> None:
    def writes(services: dict[str, Any]) -> bool:
        (media,) = (volume for volume in services["wsgi"]["volumes"] if volume["source"] == "media")
        return not media.get("read_only")

    assert not writes(stack["services"])
    assert writes(config(MEDIA_MODE="rw")["services"])


def source() -> dict[str, Any]:
    """The file itself, with its own order of keys."""
    document: dict[str, Any] = yaml.load((ROOT / "compose.yaml").read_text(), Loader=_Unmerged)
    return document


class _Unmerged(yaml.SafeLoader):
    """Keeps `<<` as a key, so that a service has only its own keys."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
