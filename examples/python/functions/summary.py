"""Answers, for each column of numbers of the CSV in the request, how many there are, their mean and their extremes, as JSON."""

import csv
import json
import statistics
import sys

reader = csv.DictReader(sys.stdin)
columns: dict[str, list[float]] = {name: [] for name in reader.fieldnames or []}
if not columns:
    sys.exit("the request has no header line")

for row in reader:
    for name, text in row.items():
        try:
            columns[name].append(float(text))
        except (KeyError, TypeError, ValueError) as error:
            # The traceback is what the dead letter shows, so it names the place.
            raise ValueError(f"line {reader.line_num}, column {name}: a number, got {text!r}") from error

json.dump(
    {
        name: {
            "count": len(values),
            "mean": round(statistics.fmean(values), 3),
            "min": min(values),
            "max": max(values),
        }
        for name, values in columns.items()
        if values
    },
    sys.stdout,
)
