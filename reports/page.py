"""A report as one HTML page that needs no other file."""

import base64

from jinja2 import Environment

from detox.reports import examined
from detox.reports.blame import table as blame_table
from detox.reports.contradictions import COLUMNS, Contradictions, in_words
from detox.reports.contradictions import rows as rows_of
from detox.reports.evidence import KINDS
from detox.reports.log import Log, assumed
from detox.reports.results import FinishedRun
from detox.reports.verdicts import threshold_in_words

_CAPTIONS = {
    "curves": "The scores on the test data, over steps and over seconds; bands: from the worst to the best seed.",
    "time-to-target": "Seconds of training until the target, the mean of the seeds.",
    "seconds": "Where the seconds of a step go.",
    "attacks": "What the test says at the end, by method and attack, and the worst attack of each method.",
}

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>DETOX: {{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; font-size: 14px }
th, td { padding: .3em .7em; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left }
img { max-width: 100% }
figure { margin: 2em 0 }
figcaption { color: #555 }
.wide { overflow-x: auto }
</style>
<h1>{{ title }}</h1>
<div class="wide"><table>
<tr>{% for name in rows[0] %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for value in row.values() %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
<p>Spreads are from the least to the greatest of the seeds. True positives: dissents of workers that are
Byzantine or have an injected fault; false positives: those of honest ones,
for where Byzantine workers are a group's majority it is the honest that dissent.</p>
{% for name, data in pictures.items() %}<figure><img alt="{{ captions[name] }}" src="data:image/png;base64,{{ data }}">
<figcaption>{{ captions[name] }}</figcaption></figure>
{% endfor %}<h2>Ledgers</h2>
{% for ledger in ledgers %}<details><summary>{{ ledger.name }}</summary>
<div class="wide"><table>
<tr><th>worker</th><th>host</th>
{%- for kind in ledger.kinds %}<th title="{{ kinds[kind] }}">{{ kind }}</th>{% endfor %}</tr>
{% for worker, host, counts in ledger.rows %}<tr><td>{{ worker }}</td><td>{{ host }}</td>
{%- for kind in ledger.kinds %}<td>{{ counts.get(kind, "") }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% if ledger.verdicts %}<div class="wide"><table>
<tr>{% for name in ledger.verdict_columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in ledger.verdicts %}<tr>{% for value in row %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
<p>{{ ledger.threshold }}</p>
{% endif %}{% if ledger.graph %}<p>{{ ledger.words }}</p>
<div class="wide"><table>
<tr>{% for name in columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in ledger.graph %}<tr>{% for value in row %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% endif %}{% if ledger.examined %}<p>{{ examined_in_words }}</p>
<div class="wide"><table>
<tr>{% for name in examined_columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in ledger.examined %}<tr>{% for value in row %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% endif %}</details>
{% endfor %}</html>
"""


def page(title: str, rows: list[dict[str, str]], pictures: dict[str, bytes], runs: list[FinishedRun]) -> str:
    """The page.

    Args:
        title: what all runs share.
        rows: the table of methods.
        pictures: PNGs by name.
        runs: with a ledger each.
    """
    ledgers = []
    for run in runs:
        counts = run.summary["ledger"]
        kinds = [kind for kind in KINDS if any(kind in of for of in counts)]
        workers = zip(range(len(counts)), run.summary["hosts"], counts, strict=True)
        found, q = Contradictions.read(run.ledger, run.config), assumed(run.config)
        log = Log(run.config, run.summary["steps"], run.ledger, q)
        words = in_words(found, log.graph_q, log.explained)
        graph = {"graph": rows_of(found, log.graph_q), "words": words} if found.steps else {}
        columns = blame_table(log).columns
        told = {
            "examined": examined.rows(run.ledger),
            "verdict_columns": [column.header for column in columns],
            "verdicts": list(zip(*(column.cells for column in columns), strict=True)),
            "threshold": threshold_in_words(log),
        }
        ledgers.append({"name": run.folder_name, "kinds": kinds, "rows": list(workers), **graph, **told})
    return (
        Environment(autoescape=True)
        .from_string(_PAGE)
        .render(
            title=title,
            rows=rows,
            pictures={name: base64.b64encode(data).decode() for name, data in pictures.items()},
            captions=_CAPTIONS,
            ledgers=ledgers,
            kinds=KINDS,
            columns=COLUMNS,
            examined_columns=examined.COLUMNS,
            examined_in_words=examined.IN_WORDS,
        )
    )
