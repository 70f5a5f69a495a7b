"""SITE=…: the checks before anything is built, and what make writes into .env."""

import re
import subprocess
from pathlib import Path

import pytest

from config.host_shell import SOURCE, sentence, sh

SITE_FILES = SOURCE / "images/app/site-files"


@pytest.fixture
def guestbook(tmp_path: Path) -> Path:
    folder = tmp_path / "My Guestbook"
    folder.mkdir()
    (folder / "manage.py").touch()
    (folder / "requirements.txt").touch()
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what the checks read."""
    folder = tmp_path / "checkout"
    (folder / "docs/reference").mkdir(parents=True)
    (folder / "docs/reference/environment.md").write_bytes(
        (SOURCE / "docs/reference/environment.md").read_bytes()
    )
    (folder / "app").mkdir()
    return folder


def test_a_site_that_does_not_exist(checkout: Path) -> None:
    said = sentence(sh("check_site", checkout, {"SITE": "../nowhere"}))
    assert (
        said
        == "SITE=../nowhere does not exist: give the folder of a Django project, such as SITE=../guestbook."
    )


def test_a_site_that_is_a_file(checkout: Path, guestbook: Path) -> None:
    said = sentence(sh("check_site", checkout, {"SITE": str(guestbook / "manage.py")}))
    assert "is not a folder that can be read" in said


def test_a_site_without_manage_py(checkout: Path, guestbook: Path) -> None:
    (guestbook / "manage.py").unlink()
    assert "has no manage.py: give the folder" in sentence(
        sh("check_site", checkout, {"SITE": str(guestbook)})
    )


def test_a_site_without_requirements(checkout: Path, guestbook: Path) -> None:
    (guestbook / "requirements.txt").unlink()
    said = sentence(sh("check_site", checkout, {"SITE": str(guestbook)}))
    assert (
        "has no requirements file: write its packages into requirements.txt, or into pyproject.toml" in said
    )
    (guestbook / "pyproject.toml").touch()
    assert sh("check_site", checkout, {"SITE": str(guestbook)}).stdout == ""


@pytest.mark.parametrize("name", ["DATABASE_URL", "MAX_BODY_SIZE", "DEBUG"])
def test_a_setting_of_the_stack_among_the_sites_own(checkout: Path, guestbook: Path, name: str) -> None:
    (checkout / "site.env").write_text(f"MAP_KEY=x\nexport {name}=1\n")
    said = sentence(sh("check_site", checkout, {"SITE": str(guestbook)}))
    assert said.startswith(f"site.env sets {name}, which is a setting of the stack: remove that line")


def test_the_sites_own_variables_are_accepted(checkout: Path, guestbook: Path) -> None:
    (checkout / "site.env").write_text("MAP_KEY=x\n#DEBUG=1\n")
    assert sh("check_site", checkout, {"SITE": str(guestbook)}).stdout == ""


def test_another_site_is_remembered_with_a_stack_and_images_of_its_own(
    checkout: Path, guestbook: Path
) -> None:
    given = {"SITE": str(guestbook), "SITE_SETTINGS": "guestbook.settings"}
    sh("choose_site", checkout, given)
    names = "SITE SITE_SETTINGS COMPOSE_PROJECT_NAME IMAGE_TAG"
    asked = f"choose_site; for name in {names}; do setting $name; echo; done"
    assert sh(asked, checkout).stdout.splitlines() == [*given.values(), "my-guestbook", "my-guestbook"]
    sh("choose_site", checkout, {"SITE": "./app"})
    assert not (checkout / ".env").exists()


def test_the_operators_names_come_first(checkout: Path, guestbook: Path) -> None:
    own = "COMPOSE_PROJECT_NAME=mine\nIMAGE_TAG=v2\n"
    (checkout / ".env").write_text(own)
    sh("choose_site", checkout, {"SITE": str(guestbook)})
    assert (checkout / ".env").read_text().startswith(own)
    assert sh("choose_site; setting COMPOSE_PROJECT_NAME", checkout).stdout.endswith("mine")


def test_the_next_site_gets_nothing_of_the_one_before(checkout: Path, guestbook: Path) -> None:
    sh("choose_site", checkout, {"SITE": str(guestbook), "SITE_SETTINGS": "guestbook.settings"})
    other = guestbook.with_name("shop")
    guestbook.rename(other)
    guestbook.mkdir()
    asked = "for name in SITE_SETTINGS COMPOSE_PROJECT_NAME IMAGE_TAG; do setting $name; echo; done"
    sh("choose_site", checkout, {"SITE": str(other)})
    assert sh(asked, checkout).stdout.splitlines() == ["", "shop", "shop"]
    # The operator changes make's own line.
    env = checkout / ".env"
    env.write_text(env.read_text().replace(str(other), str(guestbook)))
    sh("choose_site", checkout)
    assert sh(asked, checkout).stdout.splitlines() == ["", "my-guestbook", "my-guestbook"]


def test_a_folder_of_the_stacks_name_does_not_get_the_samples_stack(checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Sluice"
    folder.mkdir()
    sh("choose_site", checkout, {"SITE": str(folder)})
    assert sh("setting COMPOSE_PROJECT_NAME", checkout).stdout == "sluice-site"


def test_without_another_site_nothing_is_written(checkout: Path) -> None:
    for name in ("manage.py", "requirements.txt"):
        (checkout / "app" / name).touch()
    done = sh("choose_site && check_site", checkout)
    assert (done.returncode, done.stdout) == (0, "")
    assert not (checkout / ".env").exists()


def test_a_site_that_env_and_make_disagree_on(checkout: Path, guestbook: Path) -> None:
    (checkout / ".env").write_text("SITE=../one\n")
    said = sentence(sh("choose_site", checkout, {"SITE": str(guestbook)}))
    assert said.startswith(".env sets SITE=../one, but make got SITE=")


def test_a_celery_worker_without_rabbitmq(checkout: Path) -> None:
    said = sentence(sh("check_services", checkout, {"RABBITMQ_CONTAINERS": "0"}))
    assert said.startswith("RABBITMQ_CONTAINERS=0 needs CELERY_CONTAINERS=0: ")
    assert sh("check_services", checkout).returncode == 0
    none = {"RABBITMQ_CONTAINERS": "0", "CELERY_CONTAINERS": "0"}
    assert sh("check_services", checkout, none).returncode == 0


# --- images/app/site-files ---


def needed(folder: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["python3", SITE_FILES, folder, target], capture_output=True, text=True, check=False
    )


def test_requirements_become_one_file_without_sluices_own_packages(guestbook: Path, tmp_path: Path) -> None:
    (guestbook / "requirements").mkdir()
    (guestbook / "requirements.txt").unlink()
    (guestbook / "requirements/production.txt").write_text(
        "-r base.txt\n-c limits.txt\nSluice_Updates[asgi]==0.1 \\\n    --hash=sha256:00\ngunicorn\n"
    )
    (guestbook / "requirements/base.txt").write_text("Django>=5.2\nsluice-stack\n-r base.txt\n")
    (guestbook / "requirements/limits.txt").write_text("sqlparse<1\n")
    done = needed(guestbook, tmp_path / "needs")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "needs/requirements.txt").read_text() == "Django>=5.2\ngunicorn\n-c constraints.txt\n"
    assert (tmp_path / "needs/constraints.txt").read_text() == "sqlparse<1\n"


def test_a_pyproject_names_them_too(guestbook: Path, tmp_path: Path) -> None:
    (guestbook / "requirements.txt").unlink()
    (guestbook / "pyproject.toml").write_text('[project]\ndependencies = ["Django>=5.2", "sluice-updates"]\n')
    assert needed(guestbook, tmp_path / "needs").returncode == 0
    assert (tmp_path / "needs/requirements.txt").read_text() == "Django>=5.2\n"


def test_debian_packages_are_listed(guestbook: Path, tmp_path: Path) -> None:
    (guestbook / "sluice-packages.txt").write_text("# for maps\ngdal-bin\nlibmagic1  # types of files\n\n")
    assert needed(guestbook, tmp_path / "needs").returncode == 0
    assert (tmp_path / "needs/packages.txt").read_text() == "gdal-bin\nlibmagic1\n"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("requirements.txt", "-r gone.txt\n", "gone.txt, which the requirements include, does not exist"),
        ("requirements.txt", "-c gone.txt\n", "gone.txt, a file of constraints, does not exist"),
        ("requirements.txt", "-e .\n", "the requirement '-e .' is a folder"),
        ("sluice-packages.txt", "gdal-bin; reboot\n", "'gdal-bin; reboot' is not a Debian package's name"),
        ("pyproject.toml", "[tool.poetry]\n", "pyproject.toml has no dependencies in [project]"),
    ],
)
def test_what_a_build_could_not_use_is_named(
    guestbook: Path, tmp_path: Path, name: str, text: str, expected: str
) -> None:
    if name == "pyproject.toml":
        (guestbook / "requirements.txt").unlink()
    (guestbook / name).write_text(text)
    done = needed(guestbook, tmp_path / "needs")
    assert done.returncode == 78 and done.stderr.startswith("sluice site: ") and expected in done.stderr
    assert not (tmp_path / "needs/requirements.txt").exists()


# --- images/app/Dockerfile ---


def test_environments_and_files_with_secrets_stay_out_of_the_image(guestbook: Path) -> None:
    secret = [
        ".env",
        ".env.production",
        ".envs/.production/.django",
        ".envrc",
        "app/.env.local",
        "db.sqlite3",
    ]
    large = [
        ".git/HEAD",
        "env/pyvenv.cfg",
        "env/bin/python",
        "deep/er/3.13/pyvenv.cfg",
        "env/x/pyvenv.cfg",
        ".tox/py/pyvenv.cfg",
    ]
    kept = [
        "manage.py",
        "pyvenv.cfg",
        "requirements.txt",
        "sluice.env",
        "app/environment.py",
        "deep/er/page.py",
    ]
    for name in secret + large + kept:
        (guestbook / name).parent.mkdir(parents=True, exist_ok=True)
        (guestbook / name).touch()
    text = (SOURCE / "images/app/Dockerfile").read_text().replace("\\\n", "")
    commands = re.findall(r"find /opt/sluice/app .*?;(?= )", text)
    assert len(commands) == 2
    script = " ".join(commands).replace("/opt/sluice/app", '"$0"')
    subprocess.run(["sh", "-eu", "-c", script, guestbook], check=True)
    found = [str(path.relative_to(guestbook)) for path in guestbook.rglob("*") if path.is_file()]
    assert sorted(found) == sorted(kept)
