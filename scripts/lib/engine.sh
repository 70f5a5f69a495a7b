# shellcheck shell=bash
# Docker Engine, its client, Buildx and Compose: are they there and new enough, and if not, getting them from Debian.

# The engine knows `start_interval` in health checks from 25.0 on; Compose knows `required: false` of env_file from 2.24 on.
readonly engine_minimum=25.0 buildx_minimum=0.12 compose_minimum=2.24
readonly minimums="Docker Engine $engine_minimum, Buildx $buildx_minimum and Compose $compose_minimum"

engine_version='' engine_error='' engine_socket=''

# require_engine: this machine's engine answers and all parts are new enough; or one sentence. Installs and starts nothing.
require_engine() {
    own_engine_only
    prefer_complete_client
    if ! have docker || ! engine_answers; then stop "$(why_silent)"; fi
    require_versions
}

# prepare_engine: like require_engine, but installs what is missing and starts the daemon, after asking.
prepare_engine() {
    local missing=()
    own_engine_only
    prefer_complete_client
    if have docker && engine_answers; then
        require_engine_version
        # A package that is there and yet isn't enough (Debian 12's docker-compose is v1) can't be replaced, only named.
        has_buildx || mapfile -t missing < <(missing_packages docker-buildx)
        has_compose || mapfile -t -O "${#missing[@]}" missing < <(missing_packages docker-compose)
        ((${#missing[@]} == 0)) || install_engine "${missing[@]}"
    else
        [[ $engine_error != *'permission denied'* ]] || stop "$(why_silent)"
        { have dockerd && have docker; } || install_engine docker.io docker-cli docker-buildx docker-compose iptables ca-certificates debootstrap
        prefer_complete_client
        engine_answers || start_daemon
    fi
    require_versions
}

# own_engine_only: make sees to this machine only. An engine elsewhere publishes its ports and keeps its images elsewhere.
own_engine_only() {
    local endpoint=${DOCKER_HOST-} source=DOCKER_HOST
    if [[ -z $endpoint ]] && have docker; then
        source="The Docker context '$(docker context show 2>/dev/null || echo default)'"
        endpoint=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) || endpoint=
    fi
    endpoint=${endpoint:-unix:///var/run/docker.sock}
    [[ $endpoint == unix://* ]] ||
        stop "$source points to another engine ($endpoint), and make sees to this machine's only: unset DOCKER_HOST (or \`docker context use default\`), or run \`docker compose up -d --wait\` yourself."
    engine_socket=${endpoint#unix://}
    if [[ -n ${DOCKER_HOST-} ]] && have docker && ! engine_answers; then
        stop "DOCKER_HOST=$DOCKER_HOST is set, but no engine answers there ($engine_error): unset it to use this machine's own, or start that one."
    fi
}

# prefer_complete_client: a client that was copied to the PATH by hand may know no Compose; Debian's does.
prefer_complete_client() {
    if have docker && ! { has_compose && has_buildx; } && [[ -x /usr/bin/docker ]] && /usr/bin/docker compose version >/dev/null 2>&1; then
        say "Using /usr/bin/docker: $(type -P docker), first on the PATH, has no Compose or Buildx."
        PATH=/usr/bin:$PATH
    fi
}

# engine_answers: sets engine_version, or engine_error to what the client said.
engine_answers() {
    local answer
    if answer=$(timeout 20 docker version --format '{{.Server.Version}}' 2>&1); then
        engine_version=$(tail -n 1 <<<"$answer")
        return 0
    fi
    engine_error=$(grep -v '^$' <<<"$answer" | tail -n 1 || true)
    engine_error=${engine_error:-no answer within 20 seconds}
    return 1
}

has_compose() { docker compose version >/dev/null 2>&1; }
has_buildx() { docker buildx version >/dev/null 2>&1; }

# why_silent: one sentence on why no engine answers, with the cure.
why_silent() {
    local user
    if ! have docker; then
        say "There is no docker on this machine: \`make up\` installs it."
    elif [[ $engine_error == *'permission denied'* ]]; then
        user=$(id -un 2>/dev/null) || user=$(id -u)
        say "User $user may not use the engine's socket $engine_socket: run \`sudo make …\`, or join the group docker (\`sudo usermod -aG docker $user\`) and sign in again."
    elif ! have dockerd; then
        say "There is a docker client ($(type -P docker)) but no engine on this machine: \`make up\` installs one."
    else
        say "Docker Engine is installed but doesn't answer ($engine_error): \`sudo make up\` starts it, or \`sudo systemctl start docker\`."
    fi
}

# require_versions: all three parts are new enough.
require_versions() {
    local buildx compose
    require_engine_version
    has_buildx || stop "Docker Buildx is missing, $buildx_minimum is the minimum: $(how_to_upgrade docker-buildx)."
    has_compose || stop "Docker Compose v2 is missing$(compose_v1), $compose_minimum is the minimum: $(how_to_upgrade docker-compose)."
    buildx=$(docker buildx version | awk '{ print $2 }') compose=$(docker compose version --short)
    version_at_least "$buildx" "$buildx_minimum" || stop "Docker Buildx $buildx is too old, $buildx_minimum is the minimum: $(how_to_upgrade docker-buildx)."
    version_at_least "$compose" "$compose_minimum" || stop "Docker Compose $compose is too old, $compose_minimum is the minimum: $(how_to_upgrade docker-compose)."
}

require_engine_version() {
    [[ $(docker --version 2>&1) != *[Pp]odman* ]] || stop "The docker on the PATH is Podman's ($(type -P docker)): Sluice needs $minimums or newer; remove podman-docker."
    version_at_least "$engine_version" "$engine_minimum" ||
        stop "Docker Engine $engine_version is too old, $engine_minimum is the minimum: $(how_to_upgrade docker.io)."
}

compose_v1() {
    local version
    version=$(docker-compose version --short 2>/dev/null) || return 0
    printf ' (docker-compose %s is v1, which is another program)' "$version"
}

# how_to_upgrade PACKAGE: the cure, for Debian's packages or for those of Docker, Inc.
how_to_upgrade() {
    if [[ -z $(missing_packages docker-ce) ]]; then
        say "\`sudo apt-get update && sudo apt-get install docker-ce docker-buildx-plugin docker-compose-plugin\`"
    elif [[ -z $(missing_packages "$1") ]]; then
        # Debian 12's docker-compose would be the next to be named.
        [[ $1 != docker.io ]] || has_compose || [[ -n $(missing_packages docker-compose) ]] || set -- docker.io docker-compose
        say "\`sudo apt-get remove $*\` (containers and images stay), then \`make up\` installs a newer one from Debian's packages"
    else
        say "install a newer one the way this one was installed"
    fi
}

# install_engine PACKAGE...: those of the packages that are missing, from Debian, after asking.
install_engine() {
    local system codename packages lacking suite=''
    mapfile -t packages < <(missing_packages "$@")
    lacking="This machine lacks ${packages[*]}"
    [[ $(setting INSTALL_ENGINE yes) != no ]] ||
        stop "$lacking, and INSTALL_ENGINE=no forbids installing: install $minimums or newer yourself, or run make without it."
    [[ -n $(missing_packages docker-ce) ]] ||
        stop "$lacking, but the engine is Docker's own (docker-ce), which Debian's packages can't join: \`sudo apt-get install docker-buildx-plugin docker-compose-plugin\`, then run make again."
    system=$(os_release ID) codename=$(os_release VERSION_CODENAME)
    case $system:$codename in
        debian:bookworm) suite=trixie ;; # its own Compose is v1
        debian:trixie) ;;
        *) stop "make installs the engine on Debian 12 and 13 only, this is $(os_release PRETTY_NAME): install $minimums or newer yourself, then run make again." ;;
    esac
    is_root || stop "$lacking, and installing needs root: run \`sudo make up\`."

    step "$lacking"
    say "make will"
    if [[ $suite && ! $(debian_source $suite) ]]; then
        say "  - add Debian's suite $suite from the mirror that this machine uses ($our_source),"
        say "    pinned at 100, so that nothing else is taken from it ($our_pin);"
    fi
    say "  - install them from Debian's packages, without recommended ones, if nothing else is upgraded or removed;"
    say "  - start the engine's daemon."
    go_on "Go on?" || stop "Nothing was changed. To do it yourself, install $minimums or newer and run make again."

    refresh_package_lists
    [[ -z $suite ]] || add_suite $suite "$codename"
    mapfile -t packages < <(from_suite "$suite" "${packages[@]}")
    install_packages "${packages[@]}"
    suite_needed=yes
    hash -r
}

# from_suite SUITE PACKAGE...: the engine's packages are taken from that suite (if not empty), the others from the host's own.
from_suite() {
    local package suite=$1
    shift
    for package; do
        if [[ $suite && $package == docker* ]]; then say "$package/$suite"; else say "$package"; fi
    done
}

# add_suite SUITE CODENAME: the source that gives CODENAME, with SUITE in its place; taken out again if the install doesn't follow.
add_suite() {
    local source
    [[ -z $(debian_source "$1") ]] || return 0
    source=$(debian_source "$2")
    [[ $source ]] || stop "No source of Debian's own $2 was found in /etc/apt, so the mirror for $1 isn't known: add one to /etc/apt/sources.list, then run make again."
    at_exit '[[ ${suite_needed-} ]] || rm -f "$our_source" "$our_pin"'
    mkdir -p "${our_source%/*}" "${our_pin%/*}"
    {
        say "# Written by Sluice's make: Docker Engine and Compose for Debian 12. $our_pin keeps all else out."
        as_source "$source" "$1"
    } >"$our_source"
    printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n' "$1" >"$our_pin"
    refresh_package_lists
}

# os_release NAME: a value of /etc/os-release.
os_release() { (
    # shellcheck disable=SC1091
    . /etc/os-release && printf '%s' "${!1-}"
); }
