# shellcheck shell=bash
# The operator's settings, read as compose reads them, and the few that make writes into .env. Only the Python table
# (sluice_stack.environment) knows which values are valid; it needs a container, and make runs before there is one.

# The text must not change: lines of earlier versions must be found too.
readonly written_mark='# Written by make; `make clean` takes it out again.'

# setting NAME [DEFAULT]: prints the environment's value, else that of .env, else (or if that is empty) DEFAULT.
setting() {
    local value
    if [[ -v $1 ]]; then value=${!1}; else value=$(file_setting "$1"); fi
    printf '%s' "${value:-${2-}}"
}

# file_setting NAME: prints its value in .env, from the last line that sets it, without quotes and trailing comment.
file_setting() { [[ ! -r .env ]] || value_in_lines "$1" <.env; }

# value_in_lines NAME: the same, of standard input.
value_in_lines() {
    sed -nE "s/^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*=[[:space:]]*(.*)$/\2/p" | tail -n 1 |
        sed -E "s/^'([^']*)'.*/\1/; t; s/^\"([^\"]*)\".*/\1/; t; s/[[:space:]]+#.*//; s/[[:space:]]+$//"
}

# own_setting NAME: the same, but only from the operator's lines, not from those that make wrote.
own_setting() {
    [[ -r .env ]] || return 0
    awk -v mark="$written_mark" '!held && $0 != mark; { held = !held && $0 == mark }' .env | value_in_lines "$1"
}

# remember NAME VALUE: writes a marked line into .env, unless the operator has set NAME there.
remember() {
    local newline=''
    [[ -n $(own_setting "$1") || $(file_setting "$1") != "$2" ]] || return 0
    forget "$1"
    [[ -z $(file_setting "$1") ]] || return 0
    # Without a newline at the end, our line would continue the last one.
    if [[ -s .env && -n $(tail -c 1 .env) ]]; then newline=$'\n'; fi
    printf '%s%s\n%s=%s\n' "$newline" "$written_mark" "$1" "$2" >>.env ||
        stop ".env in $PWD can't be written: run make as the owner of this folder, or with sudo."
    give_to_owner .env
    say "Wrote $1=$2 to .env."
}

# forget [NAME]: removes make's lines from .env (all, or that of NAME), and .env itself if it is empty then.
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

# give_to_owner FILE...: gives what root created to the owner of this folder.
give_to_owner() { ! is_root || chown -R --reference=. "$@"; }

# compose_files: prints the files that compose reads by default. It needs their names when another file is added.
compose_files() {
    if [[ -e compose.override.yaml ]]; then
        setting COMPOSE_FILE compose.yaml:compose.override.yaml
    else
        setting COMPOSE_FILE compose.yaml
    fi
}
