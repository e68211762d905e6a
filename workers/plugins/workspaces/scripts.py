"""The shell scripts that run inside a workspace, as its account. Fixed text: whatever varies is a positional parameter.

$1 repository, $2 tree, $3 base branch, $4 base commit, $5 branch or nothing; more as each says. Few processes: the goal for a whole spawn is
150 ms, and each git costs 2 to 3 of them.
"""

from __future__ import annotations

# Exit codes by which a script says why it stopped, away from those of git (128, 129) and of the shell (126, 127).
NOTHING = 41
NO_BASE = 42
LINK_IN_THE_WAY = 43
NOT_PREPARED = 44

_HEAD = f"""
set -eu
umask 022
repo=$1 work=$2 base_branch=$3 base=$4 branch=$5
shift 5
state="$repo/worktrees/work"
# Named outright: what stands in work/.git is the agent's to change.
export GIT_DIR="$state" GIT_WORK_TREE="$work"
must_be_prepared() {{ [ -f "$repo/ao-prepared" ] || exit {NOT_PREPARED}; cd "$work"; }}
# One of our scripts at a time. Whatever git it runs holds the lock as well, so that one that outlived its killed script is waited for.
alone() {{
    mkdir -p "${{repo%/*}}"
    exec 9>> "${{repo%/*}}/alone"
    flock 9
}}
# Only while no agent runs here: alone, and without an agent, every lock is what a killed git has left.
unlock() {{ find "$repo" -name '*.lock' -type f -delete; }}
"""

# Sets `tip` to the commit that holds the work: HEAD where it continues the branch, else the branch.
_TIP = """
find_tip() {
    head=$(git rev-parse -q --verify 'HEAD^{commit}')
    tip=$head
    [ -n "$branch" ] || return 0
    on_branch=$(git rev-parse -q --verify "refs/heads/$branch^{commit}" || true)
    [ -n "$on_branch" ] && [ "$on_branch" != "$head" ] || return 0
    git merge-base --is-ancestor "$on_branch" "$head" || tip=$on_branch
}
"""

_UNFINISHED = """
unfinished() {
    [ -e "$state/MERGE_HEAD" ] || [ -e "$state/CHERRY_PICK_HEAD" ] || [ -e "$state/REVERT_HEAD" ] ||
        [ -d "$state/rebase-merge" ] || [ -d "$state/rebase-apply" ]
}
"""

_TELL = """
tell() {
    find_tip
    commits=$(git rev-list --count "$tip" "^$base")
    dirty=0 conflicted=0
    [ -z "$(git --no-optional-locks status --porcelain --untracked-files=normal --ignore-submodules=none | head -c 1)" ] || dirty=1
    ! unfinished || conflicted=1
    echo "head=$tip commits=$commits dirty=$dirty conflicted=$conflicted"
}
"""

# More: mirror, author's name, author's address, then pairs of link name and target.
# The repository is written by hand, as gitrepository-layout(5) has it: `git init` and `git worktree add` are six processes more.
PREPARE = f"""{_HEAD}
mirror=$1 author=$2 address=$3
shift 3
point_at_base() {{
    base_ref="$repo/refs/remotes/origin/$base_branch"
    mkdir -p "${{base_ref%/*}}"
    echo "$base" > "$base_ref.new"
    mv "$base_ref.new" "$base_ref"
}}
alone
begin_branch() {{
    branch_ref="$repo/refs/heads/$branch"
    mkdir -p "${{branch_ref%/*}}"
    echo "$base" > "$branch_ref.new"
    mv "$branch_ref.new" "$branch_ref"
    echo "ref: refs/heads/$branch" > "$state/HEAD.new"
    mv "$state/HEAD.new" "$state/HEAD"
}}
if [ ! -f "$repo/ao-prepared" ]; then
    rm -rf "$repo"
    mkdir -p "$repo/objects/info" "$repo/objects/pack" "$repo/refs/heads" "$repo/info" "$state"
    echo "$mirror/objects" > "$repo/objects/info/alternates"
    echo 'ref: refs/heads/none' > "$repo/HEAD"
    printf '[core]\\n\\trepositoryformatversion = 0\\n\\tfilemode = true\\n\\tbare = true\\n\\tlogAllRefUpdates = true\\n' > "$repo/config"
    printf '[gc]\\n\\tauto = 0\\n[remote "origin"]\\n\\turl = /nowhere/the-orchestrator-pushes-for-you\\n' >> "$repo/config"
    printf '\\tfetch = +refs/heads/*:refs/remotes/origin/*\\n[user]\\n\\tname = %s\\n\\temail = %s\\n' "$author" "$address" >> "$repo/config"
    echo '../..' > "$state/commondir"
    echo "$work/.git" > "$state/gitdir"
    echo "$base" > "$state/HEAD"
    echo "gitdir: $state" > "$work/.git"
    cd "$work"
    git read-tree --reset -u "$base" || {{ git cat-file -e "$base" || exit {NO_BASE}; exit 1; }}
    point_at_base
    [ -z "$branch" ] || begin_branch
    fresh=1
else
    cd "$work"
    fresh=
    if [ -n "$branch" ]; then
        # A branch that is there holds somebody's work: it is adopted as it is.
        if [ "$(cat "$state/HEAD")" = "$base" ] && [ -z "$(ls -A "$repo/refs/heads")" ] && [ ! -e "$repo/packed-refs" ]; then
            # A warm tree at this very commit: the branch is a name for what is there, and needs no process of git.
            begin_branch
        elif ! git rev-parse -q --verify "refs/heads/$branch" > /dev/null; then
            git cat-file -e "$base" || exit {NO_BASE}
            point_at_base
            unlock
            git checkout -q --no-track -b "$branch" "$base"
        fi
    elif [ "$(git rev-parse HEAD)" != "$base" ]; then
        git cat-file -e "$base" || exit {NO_BASE}
        point_at_base
        unlock
        git checkout -q --detach "$base"
    fi
fi
while [ $# -ge 2 ]; do
    if [ ! -L "$1" ]; then
        if [ -e "$1" ]; then echo "$1 is there already" >&2; exit {LINK_IN_THE_WAY}; fi
        case $1 in */*) mkdir -p "${{1%/*}}" ;; esac
        ln -s "$2" "$1"
        echo "/$1" >> "$repo/info/exclude"
    fi
    shift 2
done
[ -z "$fresh" ] || : > "$repo/ao-prepared"
echo "$work"
"""

STANDING = f"""{_HEAD}{_TIP}{_UNFINISHED}{_TELL}
must_be_prepared
tell
"""

SET_BASE = f"""{_HEAD}
must_be_prepared
alone
git cat-file -e "$base" || exit {NO_BASE}
# An agent may be at work, but this ref is written by nobody else.
rm -f "$repo/refs/remotes/origin/$base_branch.lock"
git update-ref "refs/remotes/origin/$base_branch" "$base"
"""

# More: message.
COMMIT = f"""{_HEAD}{_TIP}{_UNFINISHED}{_TELL}
must_be_prepared
alone
unlock
if ! unfinished; then
    git add --all .
    git diff --cached --quiet || printf '%s\\n' "$1" | git commit -q --no-verify --no-post-rewrite --cleanup=whitespace -F -
fi
tell
"""

BUNDLE = f"""{_HEAD}{_TIP}
must_be_prepared
alone
find_tip
[ "$(git rev-list --count "$tip" "^$base")" -gt 0 ] || exit {NOTHING}
# The bundle carries the branch's name, wherever HEAD has gone.
[ "$tip" = "${{on_branch:-}}" ] || git update-ref "refs/heads/$branch" "$tip"
git bundle create -q --version=2 - "^$base" "refs/heads/$branch"
"""

# More: message. What the mirror's own refs hold is safe already: --alternate-refs leaves it out.
SAVE = f"""{_HEAD}
must_be_prepared
alone
unlock
head=$(git rev-parse -q --verify 'HEAD^{{commit}}')
index="$state/ao-save-index"
trap 'rm -f "$index" "$index.lock"' EXIT
[ ! -f "$state/index" ] || cp "$state/index" "$index"
GIT_INDEX_FILE="$index" git add --all .
tree=$(GIT_INDEX_FILE="$index" git write-tree)
tips=$(git for-each-ref --format='%(objectname)' refs/heads refs/stash)
unsafe=$(git rev-list --count "$head" $tips --not "$base" --alternate-refs)
[ "$unsafe" -gt 0 ] || [ "$tree" != "$(git rev-parse "$head^{{tree}}")" ] || exit {NOTHING}
parents="-p $head"
for tip in $tips; do
    case "$parents" in *"$tip"*) ;; *) parents="$parents -p $tip" ;; esac
done
saved=$(printf '%s\\n' "$1" | git commit-tree $parents -F - "$tree")
git update-ref refs/ao/saved "$saved"
git bundle create -q --version=2 - refs/ao/saved --not "$base" --alternate-refs
"""
