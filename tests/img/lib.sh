# What the tests of this folder have in common; sourced by each *.test.
#
# A test is run with KVIST (the binary) and TMP (where it makes a folder of its
# own) set; by hand, both have defaults. It says what differs and goes on; the end of the
# test is `verdict`.
set -u

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
KVIST=${KVIST:-$top/build/kvist}
# Never the folder that TMP names itself: it may be the user's.
TMP=$(mktemp -d -p "${TMP:-/tmp}") || exit 1
trap 'rm -rf "$TMP"' EXIT
export LC_ALL=C
cd "$TMP" || exit 1
export TZ=UTC

bad=0 seen=0
wrong() { # WHAT...
	echo "not so: $*"
	bad=1
}

# Writes BYTES, in hex, into a file; and reads a big-endian number from one.
patch() { # FILE OFFSET BYTES...
	printf "$(printf '\\x%s' "${@:3}")" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
field() { # FILE OFFSET LENGTH
	echo $((0x$(od -An -tx1 -j "$2" -N "$3" "$1" | tr -d ' \n')))
}

# Somebody has the image open, until it is `released`.
held() { # IMAGE [OPTION of qemu-io]...
	rm -f hold
	mkfifo hold
	qemu-io -f qcow2 "${@:2}" "$1" <hold >prompt &
	holder=$!
	exec 9>hold
	until [ -s prompt ]; do # which comes when the image is open
		kill -0 $holder || { wrong "$1 is not held"; break; }
		sleep 0.02
	done
}
released() {
	exec 9>&-
	wait $holder
}

verdict() {
	[ $seen -gt 0 ] || wrong "nothing was compared"
	exit $bad
}

# Runs `kvist img ARGS` and `qemu-img ARGS`, the same image for both, and
# compares what they print and their exit codes.
same() { # ARGS...
	local ours theirs
	seen=$((seen + 1))
	"$KVIST" img "$@" >ours.out 2>ours.err
	ours=$?
	qemu-img "$@" >theirs.out 2>theirs.err
	theirs=$?
	compared $ours $theirs "$*"
}

compared() { # OURS THEIRS WHAT
	[ "$1" = "$2" ] || {
		wrong "$3: exit code $1, of qemu-img $2"
		cat ours.err theirs.err
	}
	diff theirs.out ours.out >diff.out || {
		wrong "$3: output, of qemu-img (<) and of kvist (>)"
		head -n 20 diff.out
	}
	[ "$1" != 0 ] || [ ! -s ours.err ] || wrong "$3: $(cat ours.err)"
	[ "$1" = 0 ] || [ ! -s theirs.err ] ||
		grep -qE '^(kvist:|ERROR|Leaked)' ours.err ||
		wrong "$3: no message"
}

# As same(), but each changes an image of its own, in the folders ours and
# theirs. How far it is told in between is another matter.
same_apart() { # ARGS...
	local ours theirs who
	seen=$((seen + 1))
	(cd ours && exec "$KVIST" img "$@") >ours.out 2>ours.err
	ours=$?
	(cd theirs && exec qemu-img "$@") >theirs.out 2>theirs.err
	theirs=$?
	for who in ours theirs; do
		tr '\r' '\n' <$who.out | sed '/^  /d' >told && mv told $who.out
	done
	sed -i '/^qemu-img: warning/d' theirs.err
	compared $ours $theirs "$*"
}

# Runs a command in both of the folders.
in_both() { # COMMAND...
	local folder
	for folder in ours theirs; do (cd $folder && "$@"); done
}

# The same, of JSON: the order of keys and the layout mean nothing.
same_json() { # ARGS...
	local ours theirs
	seen=$((seen + 1))
	"$KVIST" img "$@" 2>ours.err | jq -S . >ours.out
	ours=${PIPESTATUS[0]}
	qemu-img "$@" 2>theirs.err | jq -S . >theirs.out
	theirs=${PIPESTATUS[0]}
	compared "$ours" "$theirs" "$*"
}
