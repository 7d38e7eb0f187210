import json


def run(context):
    numbers = [int(line) for line in (context.input("numbers") / "numbers.txt").read_text().split()]
    wanted = context.run_config.domains
    domains = [d for d in ("even", "odd") if wanted == "all" or d in wanted]
    (context.output("parts") / "domains.json").write_text(
        json.dumps({"domains": domains, "skipped": {"prime": "too few"}})
    )
    for remainder, name in enumerate(("even", "odd")):
        (context.output("parts") / f"{name}.json").write_text(json.dumps([n for n in numbers if n % 2 == remainder]))
    (context.output("leftovers") / "none.txt").write_text("")
