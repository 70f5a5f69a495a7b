# shellcheck shell=bash
# Which image all others derive from: Debian's own where a registry answers, else one made here from Debian's packages.

readonly public_base=debian:trixie-slim own_base=sluice-base
registry_limit=20 # seconds

# choose_base: afterwards the base image is in the engine, and BASE_IMAGE in .env names it unless it is the public one.
choose_base() {
    local image
    image=$(setting BASE_IMAGE "$public_base")
    if has_image "$image"; then return; fi
    case $image in
        "$own_base") build_base ;;
        "$public_base")
            step "Asking the registry for $image"
            if ! pull "$image"; then
                say "No image registry answers (${pull_error:-no answer in $registry_limit seconds}); the base image is made here instead."
                has_image "$own_base" || build_base
                remember BASE_IMAGE "$own_base"
            fi
            ;;
        *)
            step "Asking the registry for $image"
            pull "$image" || stop "BASE_IMAGE=$image is neither on this machine nor can it be pulled (${pull_error:-no answer in $registry_limit seconds}): take it out of .env, and make finds a base by itself."
            ;;
    esac
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# pull IMAGE: false if no registry gives it; then pull_error says why. Only the registry's answer is bounded, not the
# download: the engine announces "Pulling from" as soon as it has that answer.
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

# plain_base SUITE: the engine has the image sluice-plain:SUITE, a Debian of that suite and nothing else: Debian's own where the base is
# (a registry answers), else one made here.
plain_base() {
    if has_image "sluice-plain:$1"; then return; fi
    if [[ $(setting BASE_IMAGE "$public_base") == "$public_base" ]] && pull "debian:$1"; then
        docker tag "debian:$1" "sluice-plain:$1"
    else
        build_base "$1" "sluice-plain:$1"
    fi
}
