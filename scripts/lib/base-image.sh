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

# build_base [SUITE IMAGE]: a Debian of nothing but essential packages, from the mirror that this host uses, with today's updates.
build_base() {
    local suite=${1:-trixie} image=${2:-$own_base} codename from mirror work previous
    is_root || stop "Making the base image needs root (debootstrap): run \`sudo make base\` once, then go on without."
    if ! have debootstrap; then
        go_on "debootstrap is needed to make the base image. Install it?" || stop "Nothing was changed: debootstrap is needed to make the base image."
        refresh_package_lists
        install_packages debootstrap
    fi
    codename=$(os_release VERSION_CODENAME)
    from=$(debian_source "$suite")
    [[ $from ]] || from=$(debian_source "$codename")
    mirror=$(plain_mirror "$from") ||
        stop "No address of a Debian mirror was found in /etc/apt: add one (deb ADDRESS $codename main) to /etc/apt/sources.list, then run make again."
    step "Making the base image $image from $mirror (about a minute)"
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/sluice-base.XXXXXX")
    at_exit "rm -rf --one-file-system $work"
    previous=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null) || previous=
    images/base/build "$work" "$mirror" "$(security_mirror "$codename" "$suite")" "$suite" "$image" ||
        stop "The base image could not be made: the lines above say why; the mirror $mirror must be reachable and ${work%/*} must allow devices and programs (or set TMPDIR to a folder that does)."
    # What was built on the previous one keeps its layers, and only those.
    [[ -z $previous ]] || docker image rm "$previous" >/dev/null 2>&1 || true
    say "Made $image ($(docker image inspect --format '{{.Size}}' "$image" | awk '{ printf "%d MB", $1 / 1e6 }'))."
}

# security_mirror CODENAME SUITE: where this host, which is CODENAME, gets Debian's security updates for SUITE, or nothing.
security_mirror() {
    local from
    from=$(debian_source "$2-security")
    [[ $from ]] || from=$(debian_source "$1-security")
    if [[ $from ]]; then plain_mirror "$from" || true; fi
}
