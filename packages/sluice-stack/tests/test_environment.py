"""The environment: which variables are read, which are refused, and the error messages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sluice_stack import environment
from sluice_stack.environment import Malformed

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src"


def problem(**environ: str) -> str:
    with pytest.raises(Malformed) as caught:
        environment.parse(environ)
    (sentence,) = caught.value.problems
    return sentence


def test_nothing_set_is_a_working_site() -> None:
    env = environment.parse({})
    assert env.site_url == "http://localhost:8080"
    assert env.wsgi_workers == 2
    assert env.expose_backend is False
    assert env.layer_url == ""


def test_an_empty_value_means_the_default() -> None:
    assert environment.parse({"WSGI_THREADS": "", "SITE_URL": "", "HTTP_PORT": "81"}) == environment.parse(
        {"HTTP_PORT": "81"}
    )


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("https://EXAMPLE.org", "https://example.org"),
        ("https://example.org:443/", "https://example.org"),
        ("http://example.org:8080", "http://example.org:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_site_url_is_an_origin(given: str, understood: str) -> None:
    assert environment.parse({"SITE_URL": given}).site_url == understood


@pytest.mark.parametrize(
    "malformed",
    [
        {"SITE_URL": "example.org"},
        {"SITE_URL": "ftp://example.org"},
        {"SITE_URL": "https://a:b@example.org"},
        {"SITE_URL": "https://example.org:99999"},
        {"SITE_URL": "https://exa mple.org"},
        {"HTTP_PORT": "0"},
        {"HTTP_PORT": "65536"},
        {"HTTP_PORT": "8_080"},
        {"HTTP_PORT": "٨٠"},
        {"HTTP_PORT": "9" * 5000},
        {"HTTP_BIND": "localhost"},
        {"URL_PREFIX": "catmaid"},
        {"URL_PREFIX": "/catmaid/"},
        {"URL_PREFIX": "/a//b"},
        {"URL_PREFIX": "/../b"},
        {"URL_PREFIX": "/a b"},
        {"ASGI_PREFIXES": "/"},
        {"ASGI_PREFIXES": "/ws/"},
        {"ASGI_PREFIXES": "/channels/ /ws"},
        {"ASGI_PREFIXES": "/channels/ /channels/"},
        {"ASGI_PREFIXES": "/channels/ /static/x/"},
        {"EXPOSE_BACKEND": "true"},
        {"LOG_LEVEL": "INFO"},
        {"HEALTH_ALLOW": "10.0.0.1/8"},
        {"ADMIN_USERNAME": "a b"},
        {"WSGI_WORKERS": "-1"},
        {"MAX_CLIENTS": "1e6"},
        {"DATABASE_URL": "mysql://u@h/d"},
        {"DATABASE_URL": "postgresql://h/d"},
        {"DATABASE_URL": "postgresql://u@h/d?sslmode=require"},
        {"LAYER_URL": "amqp://layer@rabbitmq:5672/asgi/"},
        {"LAYER_URL": "amqp://rabbitmq/asgi"},
        {"TASKS_URL": "redis://h/0"},
        {"SENDFILE": "apache"},
        {"SLUICE_SERVICE": "web"},
        {"WSGI_BIND": "8000"},
        {"MEDIA_ROOT": "media"},
        {"IMAGE_TAG": "a:b"},
        {"BASE_IMAGE": "a\nb"},
    ],
)
def test_malformed_values_are_refused_by_name(malformed: dict[str, str]) -> None:
    (name,) = malformed
    sentence = problem(**malformed)
    assert sentence.startswith(f"{name}=") and " is malformed: it must " in sentence
    assert sentence.isprintable()


def test_a_path_in_site_url_is_sent_to_where_it_belongs() -> None:
    assert problem(SITE_URL="https://example.org/catmaid/").endswith("/catmaid belongs in URL_PREFIX")


@pytest.mark.parametrize(
    ("name", "url"),
    [("DATABASE_URL", "postgresql://wsgi:hunter2@db/sluice"), ("TASKS_URL", "amqp://t:hunter2@mq/celery")],
)
def test_passwords_have_no_place_in_urls_and_are_not_repeated(name: str, url: str) -> None:
    sentence = problem(**{name: url})
    assert "PASSWORD_FILE" in sentence
    assert "hunter2" not in sentence


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(Malformed) as caught:
        environment.parse({"HTTP_PORT": "x", "DEBUG": "maybe"})
    assert len(caught.value.problems) == 2


def test_unknown_names_are_refused_with_the_nearest() -> None:
    (sentence,) = environment.unknown_names(
        {"SITE_ULR": "x", "PATH": "/bin", "https_proxy": "x", "LC_ALL": "C"}
    )
    assert sentence == "SITE_ULR is not a setting of this container; did you mean SITE_URL?"


def test_an_unknown_name_that_is_like_none() -> None:
    (sentence,) = environment.unknown_names({"QQQQ": ""})
    assert sentence.endswith("docs/reference/environment.md lists them all")


def test_a_file_supplies_missing_variables(tmp_path: Path) -> None:
    file = tmp_path / "sluice.env"
    file.write_text("# a host\nWSGI_THREADS='8'\n\nLOG_LEVEL=debug\nURL_PREFIX=\"/a\"\n")
    environ = environment.with_file({"SLUICE_ENV_FILE": str(file), "LOG_LEVEL": "error"})
    env = environment.parse(environ)
    assert (env.wsgi_threads, env.log_level, env.url_prefix) == (8, "error", "/a")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SITE_ULR=x\n", "SITE_ULR is not a setting of {file}; did you mean SITE_URL?"),
        (
            "MAX_BODY_SIZE=2m\n",
            "MAX_BODY_SIZE has no effect in {file}; on a host nginx's own files set it:"
            " see docs/reference/the-split.md",
        ),
        ("IMAGE_TAG=x\n", "IMAGE_TAG has no effect in {file}; only containers use it: remove it"),
        ("DEBUG=no\nexport X\n", "{file} line 2 is malformed: it must be NAME=VALUE or a comment"),
        ("DEBUG=no\nA B=1\n", "{file} line 2 is malformed: it must be NAME=VALUE or a comment"),
    ],
)
def test_a_bad_line_in_the_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "sluice.env"
    file.write_text(text)
    with pytest.raises(Malformed) as caught:
        environment.with_file({"SLUICE_ENV_FILE": str(file)})
    assert caught.value.problems == [words.format(file=file)]


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="does not exist; create it, or unset the variable"):
        environment.with_file({"SLUICE_ENV_FILE": str(tmp_path / "none")})


def test_a_secret_is_the_files_content(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("abc\n")
    assert environment.secret(str(file), "SECRET_KEY_FILE") == "abc"


@pytest.mark.parametrize(
    ("service", "fix"), [("", "create it with 64 random"), ("wsgi", "the service init creates it")]
)
def test_secrets_that_are_missing_or_empty_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: str, fix: str
) -> None:
    monkeypatch.setenv("SLUICE_SERVICE", service)
    (tmp_path / "empty").touch()
    with pytest.raises(Malformed, match=rf"SECRET_KEY_FILE=.*/none does not exist; {fix}"):
        environment.secret(str(tmp_path / "none"), "SECRET_KEY_FILE")
    with pytest.raises(Malformed, match="is empty; delete it"):
        environment.secret(str(tmp_path / "empty"), "SECRET_KEY_FILE")


def test_the_command_prints_a_line_per_problem_and_exits_78(tmp_path: Path) -> None:
    run = check(SLUICE_SERVICE="wsgi", SITE_ULR="x", HTTP_PORT="y", SECRET_KEY_FILE=str(tmp_path / "none"))
    assert run.returncode == 78
    assert run.stdout == ""
    assert run.stderr.splitlines() == [
        "sluice wsgi: SITE_ULR is not a setting of this container; did you mean SITE_URL?",
        "sluice wsgi: HTTP_PORT=y is malformed: it must be a whole number from 1 to 65535",
    ]


def test_the_command_checks_secrets_too(tmp_path: Path) -> None:
    run = check(SLUICE_SERVICE="asgi", SECRET_KEY_FILE=str(tmp_path / "none"))
    assert run.returncode == 78
    assert "SECRET_KEY_FILE=" in run.stderr and len(run.stderr.splitlines()) == 1


def test_the_command_lets_a_good_environment_pass_silently(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 50)
    run = check(SLUICE_SERVICE="wsgi", SECRET_KEY_FILE=str(key), no_proxy="*", SUPERVISOR_ENABLED="1")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def check(**environ: str) -> subprocess.CompletedProcess[str]:
    # -I and a path run this interpreter itself, without the variables that a version manager adds.
    code = (
        f"import runpy, sys; sys.path[:0] = [{str(HERE)!r}, {str(SOURCE)!r}]\n"
        "runpy.run_module('sluice_stack.environment', run_name='__main__')"
    )
    return subprocess.run(
        [os.path.realpath(sys.executable), "-I", "-c", code],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_it_loads_nothing_but_the_standard_library() -> None:
    """Nor does a project's table import the project's other modules."""
    code = (
        f"import sys; sys.path[:0] = [{str(HERE)!r}, {str(SOURCE)!r}]\n"
        "from sluice_stack import environment, init\n"
        "assert environment.load().page_size == 50\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'django', 'celery', 'kombu', 'numpy', 'amqp'}), 'stacksite' in loaded)"
    )
    environ = {"DJANGO_SETTINGS_MODULE": "stacksite.settings", "SLUICE_ENV_FILE": "/dev/null"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "[] True\n", run.stderr


PROJECT = {"DJANGO_SETTINGS_MODULE": "stacksite.settings"}


def test_a_project_adds_settings_of_its_own() -> None:
    assert getattr(environment.parse(PROJECT | {"PAGE_SIZE": "7"}), "page_size", None) == 7
    assert not environment.unknown_names(PROJECT | {"PAGE_SIZE": "7"})
    with pytest.raises(Malformed, match="PAGE_SIZE=0 is malformed: it must be a whole number from 1 to 500"):
        environment.parse(PROJECT | {"PAGE_SIZE": "0"})
    (sentence,) = environment.unknown_names(PROJECT | {"PAGE_SIZES": "7"})
    assert sentence.endswith("did you mean PAGE_SIZE?")
    assert list(environment.rows(environment.project_table(PROJECT)))[-1] == "PAGE_SIZE"


def test_the_commands_and_their_checks_know_them(tmp_path: Path) -> None:
    run = check(SLUICE_SERVICE="init", PAGE_SIZE="7", **PROJECT)
    assert (run.returncode, run.stderr) == (0, "")
    run = check(SLUICE_SERVICE="init", PAGE_SIZE="0", **PROJECT)
    assert "PAGE_SIZE=0 is malformed" in run.stderr and run.returncode == 78


def test_without_a_project_they_are_unknown_and_the_reason_is_reported() -> None:
    (sentence,) = environment.unknown_names({"QQQQ": "7"})
    assert "; if it is your project's own, set DJANGO_SETTINGS_MODULE; " in sentence


def test_a_hosts_file_names_the_project(tmp_path: Path) -> None:
    file = tmp_path / "sluice.env"
    file.write_text("DJANGO_SETTINGS_MODULE=stacksite.settings\nPAGE_SIZE=7\n")
    environ = environment.with_file({"SLUICE_ENV_FILE": str(file)})
    assert getattr(environment.parse(environ), "page_size", None) == 7


def test_a_project_without_a_table_has_the_stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's package itself is not imported, because its __init__.py may import Celery and Django."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, table in (("bare", None), ("other", "class Environment: pass\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError\n")
        if table:
            (tmp_path / name / "environment.py").write_text(table)
        environ = {"DJANGO_SETTINGS_MODULE": f"{name}.settings"}
        assert environment.project_table(environ) is environment.Environment


def test_a_project_that_can_not_be_found_is_a_sentence() -> None:
    with pytest.raises(
        Malformed, match="there is no package nowhere; run this command in the folder of mana"
    ):
        environment.parse({"DJANGO_SETTINGS_MODULE": "nowhere.settings"})


def test_a_program_of_a_host_reads_its_own_file_over_the_common_one(tmp_path: Path) -> None:
    (tmp_path / "sluice.env").write_text("SITE_URL=http://common\nLOG_LEVEL=debug\nTASKS_URL=\n")
    (tmp_path / "celery.env").write_text("LOG_LEVEL=error\nTASKS_URL=amqp://celery@mq/celery\n")
    common = {"SLUICE_ENV_FILE": str(tmp_path / "sluice.env")}
    assert environment.with_file(common)["LOG_LEVEL"] == "debug"
    celery = environment.with_file(common | {"SLUICE_PROGRAM": "celery"})
    assert (celery["LOG_LEVEL"], celery["SITE_URL"]) == ("error", "http://common")
    beat = environment.with_file(common | {"SLUICE_PROGRAM": "beat"})  # beat has no file of its own
    assert beat["LOG_LEVEL"] == "debug"
    assert (
        environment.with_file(common | {"SLUICE_PROGRAM": "celery", "LOG_LEVEL": "info"})["LOG_LEVEL"]
        == "info"
    )


def test_a_mistake_in_a_programs_own_file_is_named_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "sluice.env").write_text("")
    (tmp_path / "beat.env").write_text("TASK_URL=amqp://tasks@mq/celery\n")
    with pytest.raises(Malformed, match=r"TASK_URL is not a setting of .*/beat.env; did you mean TASKS_URL"):
        environment.with_file({"SLUICE_ENV_FILE": str(tmp_path / "sluice.env"), "SLUICE_PROGRAM": "beat"})


@pytest.mark.parametrize(
    ("program", "line", "fix"),
    [
        ("gunicorn", "CELERY_CONCURRENCY=7", "it is for celery: move it to sluice.env"),
        ("gunicorn", "LAYER_URL=amqp://layer@mq/asgi", "it is for daphne, channels-worker: move it to"),
        ("daphne", "ADMIN_USERNAME=root", "it is for sluice_stack.migrate: move it to sluice.env"),
        ("celery", "HTTP_PORT=81", "on a host nginx's own files set it"),
    ],
)
def test_a_setting_of_others_is_refused_in_a_programs_own_file(
    tmp_path: Path, program: str, line: str, fix: str
) -> None:
    (tmp_path / "sluice.env").write_text("LOG_LEVEL=debug\nCELERY_CONCURRENCY=7\nMAX_CLIENTS=900\n")
    (tmp_path / f"{program}.env").write_text(f"LOG_LEVEL=error\n{line}\n")
    name = line.partition("=")[0]
    with pytest.raises(Malformed, match=rf"^{name} has no effect in .*/{program}\.env; {fix}"):
        environment.with_file({"SLUICE_ENV_FILE": str(tmp_path / "sluice.env"), "SLUICE_PROGRAM": program})
