# What the tests of this folder have in common; sourced by each *.test.
#
# A test is run with KVIST (the binary), GUESTS (the folder of built guests)
# and TMP (where it makes a folder of its own) set; by hand, all three have
# defaults. It says nothing while all is well, exits 77 after saying why it
# cannot run, and otherwise says what it wanted and what it got.
set -u

self=$(realpath "$0")
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
KVIST=${KVIST:-$top/build/kvist}
GUESTS=${GUESTS:-$top/build/guests}
# Never the folder that TMP names itself: it may be the user's.
TMP=$(mktemp -d -p "${TMP:-/tmp}") || exit 1
trap 'rm -rf "$TMP"' EXIT
export LC_ALL=C
export KVIST GUESTS TMP
cd "$TMP" || exit 1

skip() { # REASON...
	echo "$*"
	exit 77
}

die() { # WHAT...
	echo "not so: $*"
	[ ! -s "$TMP/out" ] || sed 's/^/out: /' "$TMP/out" | head -n 40
	[ ! -s "$TMP/err" ] || sed 's/^/err: /' "$TMP/err" | head -n 40
	exit 1
}

[ -w /dev/kvm ] || skip "/dev/kvm cannot be opened"

# The file of guest NAME.
guest() {
	local file
	for file in "$GUESTS/$1" "$GUESTS/$1.img" "$GUESTS/$1.elf"; do
		if [ -f "$file" ]; then
			echo "$file"
			return
		fi
	done
	echo "$GUESTS/$1.elf"
}

# run CODE GUEST [OPTION...]: runs it and wants this exit code; what it prints
# is then in out and err. Its standard input is that of the caller.
run() {
	local want=$1 name=$2 got
	shift 2
	what="kvist run $name $*"
	timeout -k 5 60 "$KVIST" run --kernel "$(guest "$name")" \
		--memory 64M "$@" >"$TMP/out" 2>"$TMP/err"
	got=$?
	[ $got = "$want" ] || die "$what: exit code $got, want $want"
}

# start GUEST [OPTION...]: as run, but in the background, as $pid. The files out
# and err are new ones: what an earlier run said is gone.
start() {
	local name=$1
	shift
	what="kvist run $name $*"
	rm -f "$TMP/out" "$TMP/err"
	"$KVIST" run --kernel "$(guest "$name")" --memory 64M "$@" \
		>"$TMP/out" 2>"$TMP/err" </dev/null &
	pid=$!
}

# finish CODE: the end of what start began.
finish() {
	local got
	wait $pid 2>/dev/null
	got=$?
	[ $got = "$1" ] || die "$what: exit code $got, want $1"
}

# refuse CODE TEXT ARGUMENT...: kvist with these arguments ends with CODE and
# one line, with TEXT in it, on standard error; nothing on standard output.
refuse() {
	local want=$1 text=$2 got lines
	shift 2
	what="kvist $*"
	timeout -k 5 20 "$KVIST" "$@" >"$TMP/out" 2>"$TMP/err" </dev/null
	got=$?
	[ $got = "$want" ] || die "$what: exit code $got, want $want"
	lines=$(wc -l <"$TMP/err")
	[ "$lines" = 1 ] || die "$what: $lines lines of error, want 1"
	grep -qF -e "$text" "$TMP/err" || die "$what: its error names \"$text\""
	[ ! -s "$TMP/out" ] || die "$what: it prints nothing else"
}

# The last run printed this text.
said() {
	grep -qaF -e "$1" "$TMP/out" || die "$what: prints \"$1\""
}

# answers TEXT MESSAGE: the control socket "socket" answers with TEXT in it
answers() {
	local got
	[ -x talk ] ||
		${CC:-cc} -D_GNU_SOURCE -o talk "$top/tests/guest/talk.c" ||
		die "talk is built"
	got=$(timeout 20 ./talk socket "$2")
	[[ $got == *"$1"* ]] || die "$what: $2 is answered with $1, not $got"
}

resize() { # DEVICE SIZE: the message; both are JSON
	echo "{\"execute\": \"block_resize\", \"arguments\":
		{\"device\": $1, \"size\": $2}}"
}

# The last run complained of nothing.
quiet() {
	[ ! -s "$TMP/err" ] || die "$what: without a word on standard error"
}

disk() { # FILE SIZE [FORMAT]: a new image
	rm -f "$1"
	qemu-img create -q -f "${3:-qcow2}" "$1" "$2" ||
		die "qemu-img creates $1"
}

sound() { # FILE: no errors and no leaks
	qemu-img check -q "$1" >"$TMP/check" 2>&1 ||
		die "qemu-img check of $1: $(cat "$TMP/check")"
}

# holds FILE FORMAT BYTE OFFSET SIZE: what the host reads there
holds() {
	qemu-io -f "$2" -c "read -P $3 $4 $5" "$1" >"$TMP/io" 2>&1
	! grep -q 'verification failed\|rror' "$TMP/io" ||
		die "$1 holds $3 at $4: $(cat "$TMP/io")"
}

# in_namespaces FLAGS: the rest of the test runs in namespaces of its own, as
# unshare(1) names them, which go with it. A user who is not root is root there.
in_namespaces() {
	[ -n "${IN_NAMESPACES:-}" ] && return
	export IN_NAMESPACES=1
	local rights
	for rights in '' -r; do
		# Not exec: $TMP is still to be removed.
		if unshare $rights "$1" true 2>/dev/null; then
			unshare $rights "$1" "$self"
			exit
		fi
	done
	skip "no right to make a namespace (unshare $1)"
}

# A bridge, up, with the address 192.0.2.1.
make_bridge() { # NAME
	ip link add "$1" type bridge && ip link set "$1" up &&
		ip address add 192.0.2.1/24 dev "$1" ||
		skip "the kernel makes no bridge"
}

no_taps() {
	! ip -o link | grep -q ': kvist' ||
		die "no tap is left: $(ip -o link | grep ': kvist')"
}

# Waits until a command succeeds, up to ten seconds.
await() {
	local i
	for i in {1..200}; do
		"$@" && return
		sleep 0.05
	done
	die "it comes true within ten seconds: $*"
}

# Waits until nobody has the image open: the kernel ends the I/O that a killed
# process had in flight, and keeps its locks as long.
await_free() { # IMAGE
	await eval "\"\$KVIST\" img info $1 >/dev/null 2>&1"
}

TRANSPORTS='pci mmio'
