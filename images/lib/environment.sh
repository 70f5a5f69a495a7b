# shellcheck shell=bash
# Checks on the environment, for the entry points of the images that have no Python. To be sourced with SERVICE set:
#
#   SERVICE=nginx
#   . /usr/local/lib/sluice/environment.sh
#   refuse_unknown SITE_URL URL_PREFIX
#   require_match URL_PREFIX '(/[A-Za-z0-9._~-]+)*' 'it must be empty or a path such as /catmaid, without a slash at its end'
#   limit_open_files
#
# A mistake is one line on stderr and exit status 78 (EX_CONFIG of sysexits.h), so that it isn't taken for a crash.

# What a shell, an engine or an administrator sets in any container: not a setting of ours, nothing to refuse.
readonly system_names='PATH|HOME|HOSTNAME|HOSTTYPE|LANG|LANGUAGE|LC_[A-Z]+|TERM|TZ|PWD|OLDPWD|SHLVL|USER|LOGNAME|SHELL|_|container|[A-Za-z]+_(PROXY|proxy)'

# refuse_unknown NAME...: every variable of the environment is one of NAME... or one that any container may have.
refuse_unknown() {
    local known=" $* " pair name
    while IFS= read -r -d '' pair; do
        name=${pair%%=*}
        [[ $known == *" $name "* || $name =~ ^($system_names)$ ]] && continue
        refuse "$(printable "$name") is not a setting of this container; $(suggestion "$name" "$@")"
    done < <(env -0)
}

# require_match NAME REGEX MEANING: the whole value of NAME matches REGEX. MEANING ends the sentence "NAME=value is malformed: ".
# No value at all is matched as the empty one.
require_match() {
    local value=${!1-}
    [[ $value =~ ^($2)$ ]] || refuse "$1=$(printable "$value") is malformed: $3"
}

# await_secrets NAME...: until they are there, or for 20 seconds. At the very first start init makes them just now: a depends_on would
# have compose recreate this container whenever the application's image, which init is made of, changes. A stop ends the wait.
await_secrets() {
    local name until=$((SECONDS + 20))
    trap 'exit 0' INT TERM
    for name; do
        while [[ ! -e /run/sluice/secrets/$name ]] && ((SECONDS < until)); do sleep 0.2; done
    done
    trap - INT TERM
}

# require_secret NAME: prints the content of /run/sluice/secrets/NAME, the way init makes it. Use it in an assignment of its own:
# a failure inside "local x=$(...)" or "export x=$(...)" goes unseen.
require_secret() {
    local file=/run/sluice/secrets/$1 value
    [[ -r $file ]] || refuse "no readable secret $file: let the service init run first, it makes what is missing"
    value=$(<"$file")
    [[ $value =~ ^[A-Za-z0-9]{32,}$ ]] || refuse "the secret $file is malformed: it must be 32 or more letters and digits; remove it, and init makes a new one"
    printf '%s' "$value"
}

# limit_open_files: sets the soft limit to 65,536, or to the hard one where that is lower. An engine may set a thousand million, and
# programs that walk through all possible handles (Erlang, supervisord) then burn a CPU for minutes; or a thousand, too few.
limit_open_files() {
    local hard
    hard=$(ulimit -Hn)
    if [[ $hard == unlimited ]] || ((hard > 65536)); then
        hard=65536
    fi
    ulimit -Sn "$hard"
}

# warn_open_files LEAST PURPOSE: says so if the soft limit is below LEAST.
warn_open_files() {
    local soft
    soft=$(ulimit -Sn)
    if [[ $soft != unlimited ]] && ((soft < $1)); then
        printf 'sluice %s: only %s files may be open, %s are needed for %s; raise LimitNOFILE of the engine\n' \
            "$SERVICE" "$soft" "$1" "$2" >&2
    fi
}

# refuse SENTENCE: ends the container.
refuse() {
    printf 'sluice %s: %s\n' "$SERVICE" "$1" >&2
    exit 78
}

# printable TEXT: TEXT on one line, whatever it holds.
printable() {
    local text=${1//[^[:print:]]/?}
    printf '%s' "${text:0:200}"
}

# suggestion NAME KNOWN...: "did you mean X?" for the nearest known name, or all names where none is near.
suggestion() {
    local name=$1 candidate nearest='' least=4 edits
    shift
    ((${#name} < 8)) && least=$((${#name} / 2 + 1))
    for candidate; do
        edits=$(distance "$name" "$candidate")
        ((edits < least)) && least=$edits nearest=$candidate
    done
    if [[ $nearest ]]; then
        printf 'did you mean %s?' "$nearest"
    elif (($#)); then
        printf 'it has %s' "$*"
    else
        printf 'it has none'
    fi
}

# distance A B: how many letters have to be inserted, removed, replaced or swapped with their neighbour to make B of A.
distance() {
    local a=$1 b=$2 i j cost best
    local -A d
    for ((i = 0; i <= ${#a}; i++)); do d[$i,0]=$i; done
    for ((j = 0; j <= ${#b}; j++)); do d[0,$j]=$j; done
    for ((i = 1; i <= ${#a}; i++)); do
        for ((j = 1; j <= ${#b}; j++)); do
            [[ ${a:i-1:1} == "${b:j-1:1}" ]] && cost=0 || cost=1
            best=$((d[$((i - 1)),$((j - 1))] + cost))
            ((d[$((i - 1)),$j] + 1 < best)) && best=$((d[$((i - 1)),$j] + 1))
            ((d[$i,$((j - 1))] + 1 < best)) && best=$((d[$i,$((j - 1))] + 1))
            if ((i > 1 && j > 1)) && [[ ${a:i-1:1} == "${b:j-2:1}" && ${a:i-2:1} == "${b:j-1:1}" ]]; then
                ((d[$((i - 2)),$((j - 2))] + 1 < best)) && best=$((d[$((i - 2)),$((j - 2))] + 1))
            fi
            d[$i,$j]=$best
        done
    done
    printf '%s' "${d[${#a},${#b}]}"
}
