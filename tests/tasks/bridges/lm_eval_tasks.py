"""Toy tasks of lm-eval, written to a directory: YAML, data and a little Python."""

import json
from pathlib import Path

COUNTS = [f"item{n}" for n in range(30)]

_YAML = {
    "toy_words": """
task: toy_words
output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{answer}}"
num_fewshot: 2
fewshot_split: train
generation_kwargs: {until: ["\\n"], max_gen_toks: 6}
filter_list:
  - name: strict
    filter: [{function: regex, regex_pattern: "([a-z]+)"}, {function: take_first}]
  - name: loose
    filter: [{function: take_first}]
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
""",
    "toy_letters": """
task: toy_letters
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
process_results: !function letters.process_results
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 4}
metric_list:
  - {metric: spread, aggregation: mean, higher_is_better: true}
""",
    "toy_choice": """
task: toy_choice
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: label
doc_to_choice: choices
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
""",
    "toy_cloze": """
task: toy_cloze
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: " {{answer}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
""",
    "toy_unsafe": """
task: toy_unsafe
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
unsafe_code: true
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
""",
    "toy_rolling": """
task: toy_rolling
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: word_perplexity}]
""",
    "toy_failing": """
task: toy_failing
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
process_results: !function letters.fail
metric_list:
  - {metric: spread, aggregation: mean, higher_is_better: true}
""",
    "toy_unbounded": """
task: toy_unbounded
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
process_results: !function letters.unbounded
metric_list:
  - {metric: spread, aggregation: mean, higher_is_better: true}
""",
}
_GROUP = """
group: {name}
task: [toy_cloze, toy_choice]
aggregate_metric_list: [{{metric: {metric}, weight_by_size: {by_size}}}]
"""
_LETTERS = """
def process_results(doc, results):
    return {"spread": sum(map(ord, results[0])) % 7 / 6}


def fail(doc, results):
    raise ZeroDivisionError("no letters")


def unbounded(doc, results):
    return {"spread": 7.0}
"""


def rows(num):
    """Return documents that all tasks can read."""
    return [
        {
            "question": f"Which word follows {COUNTS[n]} in list {n % 5}?",
            "answer": "abcdefgh"[n % 8] * 2,
            "choices": [f"{letter * 2} {n}" for letter in "abcd"],
            "label": n % 4,
        }
        for n in range(num)
    ]


def write_tasks(directory: Path, num=24) -> Path:
    """Write all tasks and their data below ``directory``; return it."""
    for split, count in (("test", num), ("train", 6)):
        lines = [json.dumps(row) for row in rows(count)]
        (directory / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    data = (
        f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: "
        f"{directory}/test.jsonl, train: {directory}/train.jsonl}}}}\n"
        "test_split: test\ntraining_split: train\n"
    )
    for name, text in _YAML.items():
        (directory / f"{name}.yaml").write_text(text + data)
    for name, by_size in (("toy_group", "true"), ("toy_even_group", "false")):
        text = _GROUP.format(name=name, metric="acc", by_size=by_size)
        (directory / f"{name}.yaml").write_text(text)
    (directory / "letters.py").write_text(_LETTERS)
    return directory
