# shellcheck shell=bash
# The site: the Django project that the stack runs (SITE). docs/how-to/your-project.md

readonly sample_site=./app

# choose_site: writes the SITE of `make up SITE=…` into .env, so that it also applies to the next `make up` and to `docker compose`. Another
# site than the sample gets a stack and images of its own name, so that it never finds another site's data.
choose_site() {
    local site name value written=(SITE SITE_SETTINGS) own=(COMPOSE_PROJECT_NAME IMAGE_TAG)
    for name in "${written[@]}"; do agree_unless_empty "$name"; done
    site=$(setting SITE "$sample_site")
    if [[ ${site%/} == "$sample_site" || ${site%/} -ef $sample_site ]]; then
        for name in "${written[@]}" "${own[@]}"; do forget "$name"; done
        return 0
    fi
    # Nothing that make wrote for another site may apply to this one.
    [[ $(file_setting SITE) -ef $site ]] || forget SITE_SETTINGS
    value=$(site_name "$site")
    for name in "${own[@]}"; do
        [[ ${!name-} || $(own_setting "$name") ]] || declare -gx "$name=$value"
        remember "$name" "$value"
    done
    for name in "${written[@]}"; do
        if [[ $(setting "$name") ]]; then remember "$name" "$(setting "$name")"; else forget "$name"; fi
    done
}

# agree_unless_empty NAME: as agree. A value that only .env has is agreed.
agree_unless_empty() {
    local given
    given=${!1-}
    [[ ! $given || ! $(own_setting "$1") || $(own_setting "$1") == "$given" ]] ||
        stop ".env sets $1=$(own_setting "$1"), but make got $1=$given: change that line."
}

# site_name FOLDER: prints its name in the form of a compose project and of an image's tag.
site_name() {
    local name
    name=$(basename "$(realpath "$1" 2>/dev/null || say "$1")")
    name=$(tr '[:upper:]' '[:lower:]' <<<"$name" | tr --complement --squeeze-repeats 'a-z0-9\n' '-' | sed -E 's/^-+//; s/-+$//')
    # sluice is the name of the sample's stack (compose.yaml).
    [[ $name != sluice ]] || name=sluice-site
    say "${name:-site}"
}

# check_site: stops if the folder can't be a site, before anything is built. The rest is found while the image is built
# (sluice_stack.project.build).
check_site() {
    local site name
    site=$(setting SITE "$sample_site")
    [[ -e $site ]] || stop "SITE=$site does not exist: give the folder of a Django project, such as SITE=../guestbook."
    [[ -d $site && -r $site ]] || stop "SITE=$site is not a folder that can be read: give the folder of a Django project, such as SITE=../guestbook."
    [[ -f $site/manage.py ]] || stop "SITE=$site has no manage.py: give the folder of a Django project, the one with manage.py."
    [[ -f $site/requirements.txt || -f $site/requirements/production.txt || -f $site/requirements/prod.txt || -f $site/requirements/base.txt || -f $site/pyproject.toml ]] ||
        stop "SITE=$site has no requirements file: write its packages into requirements.txt, or into pyproject.toml."
    while IFS= read -r name; do
        stop "site.env sets $name, which is a setting of the stack: remove that line; .env is for the settings in .env.example."
    done < <(site_variables | grep -xF -f <(stack_settings) || true)
}

# site_variables: prints the names in site.env.
site_variables() { [[ ! -r site.env ]] || sed -nE 's/^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)[[:space:]]*=.*/\2/p' site.env; }

# stack_settings: prints the names of the stack's settings, compose.yaml's own too.
stack_settings() { sed -nE 's/^\| `([A-Z][A-Z0-9_]*)` .*/\1/p' docs/reference/environment.md; }
