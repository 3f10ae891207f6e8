#!/usr/bin/env bash
# Does what docs/LABS.md says, and holds what is seen against what it says is seen, so that the page cannot rot.
#
#   tests/labs.sh            all labs
#   tests/labs.sh 4 10       these
#   tests/labs.sh -v 4       and shows what they printed, to be copied into the page
#
# The ```sh blocks of a lab are run in order in one bash that has read tests/support/labs.bash. The lines of the ```text block
# behind one must occur in that order in what the block printed: `…` stands for anything, a line of only `…` for any lines, blanks for
# any blanks, a number for any number, and a time as 136.2µs for any time, as 3.6ms, except in lines that begin with `▶`, where numbers and
# times must be the same.
# A comment `<!-- needs: gdb ptrace -->` below a lab's heading names tools; a lab whose tool is missing is not run, which is a failure.
# Exit code: 0 all showed what they should, 1 a lab did not, or could not be run, 2 wrong usage.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

PAGE=docs/LABS.md
PATIENCE=60 # seconds a lab may take, without the building
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

verbose=
wanted=()
for argument in "$@"; do
    case $argument in
        -v) verbose=yes ;;
        [0-9] | [0-9][0-9]) wanted+=("$argument") ;;
        *) echo "tests/labs.sh: unknown argument $argument; it takes -v and numbers of labs" >&2; exit 2 ;;
    esac
done
mapfile -t all < <(sed -n 's/^## Lab \([0-9]*\):.*/\1/p' "$PAGE")
((${#all[@]})) || { echo "tests/labs.sh: $PAGE has no labs" >&2; exit 2; }
((${#wanted[@]})) || wanted=("${all[@]}")

# A lab's part of the page.
part() { awk -v lab="$1" '/^## / { inside = $0 ~ "^## Lab " lab ":" } inside' "$PAGE"; }

# Writes each block of a lab into a file of its own: $WORK/LAB/1.sh, 1.text, 2.sh, …
take_apart() {
    mkdir "$WORK/$1"
    part "$1" | awk -v folder="$WORK/$1" '
        /^```$/ && kind { close(file); kind = ""; next }
        /^```sh$/ { kind = "sh"; file = folder "/" ++count ".sh"; printf "" > file; next }
        /^```text$/ { kind = "text"; file = folder "/" count ".text"; printf "" > file; next }
        kind { print > file }'
}

# Whether a tool is there and may be used; else says why not.
lacks() {
    case $1 in
        ptrace) may_attach || echo "ptrace is not permitted" ;;
        capture) tshark -i lo -a duration:0 -w /dev/null >/dev/null 2>&1 || echo "capturing on lo is not permitted" ;;
        mqueue) unshare --mount sh -c 'mount -t mqueue none /mnt' 2>/dev/null || echo "mounting the queues' file system is not permitted" ;;
        *) command -v "$1" >/dev/null || echo "$1 is not installed" ;;
    esac
}

# Not to a child, which would always be permitted: to this very shell. Found out once.
may_attach() {
    [[ -e $WORK/attached ]] || timeout -s INT 1 strace -o /dev/null -p "$$" 2>"$WORK/attached" || true
    grep -q attached "$WORK/attached"
}

# The regular expression for a line of the page. Times and numbers are marked before the rest is quoted, and any time and
# any number stand in the marks' places behind it.
expression() {
    local line=${1#▶} unit='(ns|µs|ms|s)' marks=()
    [[ $1 == '▶'* ]] || marks=(-e "s/(^|[^[:alnum:].])[0-9]+(\.[0-9]+)?( ?)$unit([^[:alnum:]]|$)/\1\x01\3\x03\5/g" -e 's/[0-9]+/\x02/g')
    line=$(sed -E "${marks[@]}" -e 's/^[[:space:]]+//' -e 's/[][\\.*+?(){}|^$]/\\&/g' -e 's/[[:space:]]+/[[:space:]]+/g' -e 's/…/.*/g' \
        -e 's/\x01/[0-9]+(\\.[0-9]+)?/g' -e "s/\x03/$unit/g" -e 's/\x02/[0-9]+/g' <<<"$line")
    printf '^[[:space:]]*%s[[:space:]]*$' "$line"
}

# Looks for the lines of $2 in $1, in order; says which one is missing.
compare() {
    local pattern line found
    exec 3<"$1"
    while IFS= read -r pattern; do
        [[ -n $pattern && $pattern != '…' ]] || continue
        local regex
        regex=$(expression "$pattern")
        found=
        while IFS= read -r line <&3; do
            [[ ! $line =~ $regex ]] || { found=yes; break; }
        done
        [[ $found ]] || { echo "missing, or not in this place: $pattern"; exec 3<&-; return 1; }
    done <"$2"
    exec 3<&-
}

# One shell for the whole lab, which writes what each block prints into a file of its own.
script() {
    local block
    echo '. tests/support/labs.bash; set -eu'
    for block in $(find "$1" -name '*.sh' | sort -V); do
        printf 'exec >%q 2>&1\n' "${block%.sh}.seen"
        cat "$block"
    done
}

run_lab() {
    local lab=$1 folder=$WORK/$1 tool reason code=0 text
    part "$lab" | head -1 | sed 's/^## /=== /'
    for tool in $(part "$lab" | sed -n 's/^<!-- needs: \(.*\) -->$/\1/p'); do
        reason=$(lacks "$tool")
        [[ -z $reason ]] || { echo "NOT RUN: $reason"; return 3; }
    done
    take_apart "$lab"
    script "$folder" >"$folder/script"
    timeout -k 10 "$PATIENCE" bash "$folder/script" >"$folder/rest" 2>&1 || code=$?
    [[ -z $verbose ]] || show_all "$folder"
    if ((code)); then
        echo "FAILED: the commands ended with $code"
        [[ $verbose ]] || show_all "$folder"
        return 1
    fi
    [[ -e $folder/1.text ]] || { echo "FAILED: the page does not say what is seen"; return 1; }
    for text in "$folder"/*.text; do
        compare "${text%.text}.seen" "$text" || { echo "FAILED: what block $(basename "$text" .text) showed:"; cat "${text%.text}.seen"; return 1; }
    done
    echo "as the page says"
}
show_all() {
    local block
    for block in $(find "$1" -name '*.sh' | sort -V); do
        echo "--- block $(basename "$block" .sh)"
        [[ ! -e ${block%.sh}.seen ]] || cat "${block%.sh}.seen"
    done
    cat "$1/rest"
}

# Built once for all: a lab's patience is not for the compiler.
if [[ -z ${BIN:-} ]]; then
    cargo build --locked --quiet --bins
    export BIN=${CARGO_TARGET_DIR:-target}/debug
fi
failed=() not_run=()
if [[ " ${wanted[*]} " == *" 12 "* && -z ${BROKEN:-} ]]; then
    # The same three defects as tests; that they are built is what builds the server of lab 12. In the usual directory, where the
    # dependencies are; the programs that stood there are put back.
    programs=${CARGO_TARGET_DIR:-target}/debug
    mkdir "$WORK/real" "$WORK/broken"
    [[ ! -e $programs/master ]] || cp -p "$programs"/{master,client,vaultctl} "$WORK/real"
    cargo test --locked --quiet --features break-it --test break_it || failed+=(tests)
    cp "$programs/master" "$WORK/broken/master"
    # Not into the files that stand there: cargo has them by another name too.
    [[ ! -e $WORK/real/master ]] || cp -p --remove-destination "$WORK/real"/* "$programs"
    export BROKEN=$WORK/broken/master
fi
for lab in "${wanted[@]}"; do
    [[ " ${all[*]} " == *" $lab "* ]] || { echo "tests/labs.sh: $PAGE has no lab $lab" >&2; exit 2; }
    code=0
    run_lab "$lab" || code=$?
    case $code in
        0) ;;
        3) not_run+=("$lab") ;;
        *) failed+=("$lab") ;;
    esac
done
((${#not_run[@]} == 0)) || echo "NOT RUN: ${not_run[*]}"
((${#failed[@]} == 0)) || echo "FAILED: ${failed[*]}"
((${#failed[@]} + ${#not_run[@]} == 0)) || exit 1
echo "OK: ${#wanted[@]} labs"
