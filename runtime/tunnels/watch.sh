# Kept by runtime/tunnels/child.py round an agent program, "$@". We lead a process group of our own.
# Standard input is a pipe that only our owner holds, and that nobody writes to. At its end, however the owner came to
# its own, the whole group is told to end, and is killed when it has not 5 s later.
trap : TERM INT
exec 3<&0
"$@" <&3 3<&- &
agent=$!
{
    trap '' TERM INT
    read -r _ <&3
    kill -TERM 0
    for tenth in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 \
        26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50; do
        kill -0 "$agent" || exit
        sleep 0.1
    done
    kill -KILL 0
} >/dev/null 2>&1 &
watcher=$!
exec 3<&- </dev/null
while :; do
    wait "$agent"
    code=$?
    kill -0 "$agent" 2>/dev/null || break # else a signal has ended the wait, not the agent
done
kill -KILL "$watcher" 2>/dev/null
exit "$code"
