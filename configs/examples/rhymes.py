"""The scorer of rhymes.yaml: a user's own Python function."""


def score(answer, row):
    """Return 1 for another word with the same last two letters."""
    word, said = row["word"], answer.strip().lower()
    if not said.isalpha():
        return 0, "expected one word"
    if said == word:
        return 0, "the word itself is no rhyme"
    return (1, "") if said[-2:] == word[-2:] else (0, f"{said} does not rhyme")
