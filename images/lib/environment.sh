# shellcheck shell=bash
# Checks of the environment for entry points of images, most of which have no Python. Source it with SERVICE set:
#
#   SERVICE=nginx
#   . /usr/local/lib/sluice/environment.sh
#   refuse_unknown SITE_URL URL_PREFIX
#   require_match URL_PREFIX '(/[A-Za-z0-9._~-]+)*' 'it must be empty or a path such as /catmaid, without a slash at its end'
#   limit_open_files
#
# A mistake gives one line on stderr and exit status 78 (EX_CONFIG of sysexits.h), which distinguishes it from a crash.

# Without this, `set -e` has no effect inside "$(...)": a function that is called there would continue without a missing secret.
shopt -s inherit_errexit

# Names that a shell, an engine or an administrator may set in any container. They are not settings, and are accepted.
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

# require_match NAME REGEX MEANING: ends the container unless the whole value of NAME matches REGEX; an unset NAME counts as empty.
# MEANING ends the sentence "NAME=value is malformed: ".
require_match() {
    local value=${!1-}
    [[ $value =~ ^($2)$ ]] || refuse "$1=$(printable "$value") is malformed: $3"
}

# await_secrets NAME...: waits up to 20 seconds for them, since at the first start init creates them at the same time. A depends_on would
# make compose recreate this container whenever the application's image changes, which init uses. A stop ends the wait.
await_secrets() {
    local name until=$((SECONDS + 20))
    trap 'exit 0' INT TERM
    for name; do
        while [[ ! -e /run/sluice/secrets/$name ]] && ((SECONDS < until)); do sleep 0.2; done
    done
    trap - INT TERM
}

# require_secret NAME: prints /run/sluice/secrets/NAME, or ends the container if it is missing or malformed. Use it in a plain assignment:
# "local x=$(...)" and "export x=$(...)" hide a failure.
require_secret() {
    local file=/run/sluice/secrets/$1 value
    [[ -r $file ]] || refuse "no readable secret $file: run the service init first, it creates missing secrets"
    value=$(<"$file")
    [[ $value =~ ^[A-Za-z0-9]{32,}$ ]] || refuse "the secret $file is malformed: it must be 32 or more letters and digits; remove it, and init creates a new one"
    printf '%s' "$value"
}

# limit_open_files: sets the soft limit to 65,536, or to the hard limit if that is lower. Some engines set a thousand million, with which
# programs that iterate over all possible handles (Erlang, supervisord) use a CPU for minutes. Others set a thousand, which is too low.
limit_open_files() {
    local hard
    hard=$(ulimit -Hn)
    if [[ $hard == unlimited ]] || ((hard > 65536)); then
        hard=65536
    fi
    ulimit -Sn "$hard"
}

# warn_open_files LEAST PURPOSE: warns if the soft limit is below LEAST.
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

# printable TEXT: TEXT on one line, without control characters.
printable() {
    local text=${1//[^[:print:]]/?}
    printf '%s' "${text:0:200}"
}
