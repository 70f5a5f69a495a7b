# shellcheck shell=bash
# The base image of all others: Debian's own if a registry is reachable, else one that is built here from Debian's packages.

readonly public_base=debian:trixie-slim own_base=sluice-base
registry_limit=20 # seconds

# choose_base: afterwards the engine has the base image, and BASE_IMAGE in .env names it, unless it is the public one.
choose_base() {
    local image
    image=$(setting BASE_IMAGE "$public_base")
    if has_image "$image"; then return; fi
    case $image in
        "$own_base") build_base ;;
        "$public_base")
            step "Asking the registry for $image"
            if ! pull "$image"; then
                say "No image registry answers (${pull_error:-no answer in $registry_limit seconds}), so make builds the base image here."
                has_image "$own_base" || build_base
                remember BASE_IMAGE "$own_base"
            fi
            ;;
        *)
            step "Asking the registry for $image"
            pull "$image" || stop "BASE_IMAGE=$image is neither on this machine nor can it be pulled (${pull_error:-no answer in $registry_limit seconds}): remove it from .env, and make finds a base."
            ;;
    esac
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# pull IMAGE: fails if no registry has it; then pull_error is the reason. Only the registry's response has a time limit, not the
# download: the engine prints "Pulling from" as soon as it has the response.
pull() {
    local log pid deadline=$((SECONDS + registry_limit))
    log=$(mktemp --tmpdir sluice-pull.XXXXXX)
    at_exit "rm -f $log"
    docker pull "$1" >"$log" 2>&1 &
    pid=$!
    until grep -q 'Pulling from' "$log" || ! kill -0 "$pid" 2>/dev/null; do
        ((SECONDS < deadline)) || {
            kill "$pid"
            break
        }
        sleep 0.2
    done
    grep -q 'Pulling from' "$log" && tail -n +1 -f --pid="$pid" "$log"
    wait "$pid" && return 0
    pull_error=$(grep -v '^$' "$log" | tail -n 1) || pull_error=
    return 1
}

# plain_base SUITE: afterwards the engine has sluice-plain:SUITE, a plain Debian of that suite: Debian's own image if the base is
# Debian's own, else one that is built here.
plain_base() {
    if has_image "sluice-plain:$1"; then return; fi
    if [[ $(setting BASE_IMAGE "$public_base") == "$public_base" ]] && pull "debian:$1"; then
        docker tag "debian:$1" "sluice-plain:$1"
    else
        build_base "$1" "sluice-plain:$1"
    fi
}
