# shellcheck shell=bash
# Docker Engine, its client, Buildx and Compose: whether they are installed, running and new enough.

# Docker Engine 25.0 is the first with `start_interval` in health checks, Compose 2.24 the first with `required: false` in env_file.
readonly engine_minimum=25.0 buildx_minimum=0.12 compose_minimum=2.24
readonly minimums="Docker Engine $engine_minimum, Buildx $buildx_minimum and Compose $compose_minimum"

engine_version='' engine_error='' engine_socket=''

# require_engine: stops unless this machine's engine answers and all parts are new enough. Installs and starts nothing.
require_engine() {
    own_engine_only
    prefer_complete_client
    if ! have docker || ! engine_answers; then stop "$(why_silent)"; fi
    require_versions
}

# own_engine_only: stops if the client uses the engine of another machine, where ports and images would be.
own_engine_only() {
    local endpoint=${DOCKER_HOST-} source=DOCKER_HOST
    if [[ -z $endpoint ]] && have docker; then
        source="The Docker context '$(docker context show 2>/dev/null || echo default)'"
        endpoint=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) || endpoint=
    fi
    endpoint=${endpoint:-unix:///var/run/docker.sock}
    [[ $endpoint == unix://* ]] ||
        stop "$source points to another engine ($endpoint), but make works only with this machine's: unset DOCKER_HOST (or \`docker context use default\`), or run \`docker compose up -d --wait\` yourself."
    engine_socket=${endpoint#unix://}
    if [[ -n ${DOCKER_HOST-} ]] && have docker && ! engine_answers; then
        stop "DOCKER_HOST=$DOCKER_HOST is set, but no engine answers there ($engine_error): unset it to use this machine's engine, or start the one there."
    fi
}

# prefer_complete_client: uses Debian's client if the first one on the PATH has no Compose or Buildx.
prefer_complete_client() {
    if have docker && ! { has_compose && has_buildx; } && [[ -x /usr/bin/docker ]] && /usr/bin/docker compose version >/dev/null 2>&1; then
        say "Using /usr/bin/docker: $(type -P docker), first on the PATH, has no Compose or Buildx."
        PATH=/usr/bin:$PATH
    fi
}

# engine_answers: whether the engine answers. Sets engine_version, or engine_error to the client's message.
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

# why_silent: prints why no engine answers, with the fix.
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

# require_versions: stops unless all three parts are new enough.
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

# how_to_upgrade PACKAGE: prints the command, for Debian's packages or Docker's own.
how_to_upgrade() {
    if [[ -z $(missing_packages docker-ce) ]]; then
        say "\`sudo apt-get update && sudo apt-get install docker-ce docker-buildx-plugin docker-compose-plugin\`"
    elif [[ -z $(missing_packages "$1") ]]; then
        # Otherwise Debian 12's docker-compose would stay, which is too old.
        [[ $1 != docker.io ]] || has_compose || [[ -n $(missing_packages docker-compose) ]] || set -- docker.io docker-compose
        say "\`sudo apt-get remove $*\` (containers and images stay), then \`make up\` installs a newer one from Debian's packages"
    else
        say "install a newer one the way this one was installed"
    fi
}
