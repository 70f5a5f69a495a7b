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

# refuse_unknown NAME...: ends the container if a variable is neither one of NAME... nor one that any container may have.
refuse_unknown() {
    local pair name known="it has ${*:-none}"
    while IFS= read -r -d '' pair; do
        name=${pair%%=*}
        [[ " $* " == *" $name "* || $name =~ ^($system_names)$ ]] ||
            refuse "$(printable "$name") is not a setting of this container; $known"
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
