"""Skills: samples, prompts and scoring. Knows no engine; code it runs is sandboxed."""
