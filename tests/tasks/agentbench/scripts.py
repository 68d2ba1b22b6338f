"""Scripts of ours that stand for the benchmark's own."""

_STOCK = """\
names=(Alice Bob Carol Dave)
for i in $(seq 0 400); do
    kind=Purchase
    [ $((i * 7 % 3)) = 0 ] && kind=Sell
    echo "${names[i * 5 % 4]} | $kind | $((i * 13 % 17)) | $((i * 11 % 23 + 1))"
done > /usr/stock.log
"""
_WORDS = """\
for i in $(seq 100); do printf "word%d  w%d   x" "$i" "$((i * 7 % 31))"; done \\
    > /usr/words.txt
"""
_NESTED = """\
place=${1:-nested}
mkdir -p "$place"
for i in $(seq 10); do
    place=$place/folder$i
    mkdir "$place"
    echo "$i" > "$place/f"
done
printf '#!/bin/sh\\necho "I love myself."\\n' > "$place/echo-love"
chmod +x "$place/echo-love"
"""
_CALC = """\
printf '#!/bin/sh\\npython3 -c "print($*)"\\n' > /usr/local/bin/calc
chmod +x /usr/local/bin/calc
"""
_CALC_CHECK = """\
for sum in '1 + 2' '(2 + 3) * 4' '7 / 2'; do
    python3 -c "assert abs($(calc "$sum") - ($sum)) < 1e-5" || exit 1
done
"""
FILES = {
    "example/0.sh": _CALC,
    "check/0.sh": _CALC_CHECK,
    "init/stock-log.sh": _STOCK,
    "init/gen_words.sh": _WORDS,
    "init/nested_folders.sh": _NESTED,
    "init/install_nettools.sh": "true  # there is no network to install it from\n",
}


def write_scripts(directory):
    """Write all scripts and return their directory."""
    for name, text in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory
