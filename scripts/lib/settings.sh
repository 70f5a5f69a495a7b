# shellcheck shell=bash
# The operator's settings, read as compose reads them, and the few that make writes into .env.

readonly written_mark='# Written by make; `make clean` takes it out again.'

# setting NAME [DEFAULT]: the environment's value, else that of .env, else (or if that is empty) DEFAULT.
setting() {
    local value
    if [[ -v $1 ]]; then value=${!1}; else value=$(file_setting "$1"); fi
    printf '%s' "${value:-${2-}}"
}

# file_setting NAME: its value in .env, where the last line wins; quotes and a comment behind it are taken off.
file_setting() { [[ ! -r .env ]] || value_in_lines "$1" <.env; }

# value_in_lines NAME: the same, of standard input.
value_in_lines() {
    sed -nE "s/^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*=[[:space:]]*(.*)$/\2/p" | tail -n 1 |
        sed -E "s/^'([^']*)'.*/\1/; t; s/^\"([^\"]*)\".*/\1/; t; s/[[:space:]]+#.*//; s/[[:space:]]+$//"
}

# own_setting NAME: the same of the operator's own lines alone, without those that make wrote.
own_setting() {
    [[ -r .env ]] || return 0
    awk -v mark="$written_mark" '!held && $0 != mark; { held = !held && $0 == mark }' .env | value_in_lines "$1"
}

# remember NAME VALUE: a line of our own in .env, marked, unless the operator has set NAME there: that line stays as it is.
remember() {
    local newline=''
    [[ -n $(own_setting "$1") || $(file_setting "$1") != "$2" ]] || return 0
    forget "$1"
    [[ -z $(file_setting "$1") ]] || return 0
    # A last line without its newline would swallow ours.
    if [[ -s .env && -n $(tail -c 1 .env) ]]; then newline=$'\n'; fi
    printf '%s%s\n%s=%s\n' "$newline" "$written_mark" "$1" "$2" >>.env ||
        stop ".env in $PWD can't be written: run make as the owner of this folder, or with sudo."
    give_to_owner .env
    say "Wrote $1=$2 to .env."
}

# forget [NAME]: takes our own lines out of .env (all, or that of NAME), and .env itself if nothing else was in it.
forget() {
    local rest
    [[ -r .env ]] && grep -qxF "$written_mark" .env || return 0
    rest=$(
        awk -v mark="$written_mark" -v name="${1-}" '
            held { held = 0; if (name == "" || index($0, name "=") == 1) next; print mark }
            $0 == mark { held = 1; next }
            { print }
            END { if (held) print mark }' .env
        echo .
    )
    rest=${rest%.}
    if [[ $rest ]]; then printf '%s' "$rest" >.env; else rm .env; fi
}

# give_to_owner FILE...: what root makes in somebody's folder is theirs.
give_to_owner() { ! is_root || chown -R --reference=. "$@"; }

# compose_files: those that compose takes by itself, as it wants to be told if there is to be one more.
compose_files() {
    if [[ -e compose.override.yaml ]]; then
        setting COMPOSE_FILE compose.yaml:compose.override.yaml
    else
        setting COMPOSE_FILE compose.yaml
    fi
}
