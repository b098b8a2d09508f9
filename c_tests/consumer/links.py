#!/usr/bin/env python3
"""links.py FOLDER: do the links in the Markdown files below FOLDER lead somewhere?

Links to other hosts are not looked at. Any other link must name a file or folder that is there,
inside FOLDER, and after a # one of the file's headings. Prints each that does not.
"""

import pathlib
import re
import sys

BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)


def anchors(path):
    """The headings as a link names them: small letters, blanks as -, no other signs."""
    titles = HEADING.findall(BLOCK.sub("", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def problem(page, link, root):
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    if not target.exists():
        return "is not there"
    if root not in target.parents:
        return f"is outside {root}"
    if anchor and anchor not in anchors(target):
        return "has no such heading"
    return None


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    count, broken = 0, 0
    for page in sorted(root.rglob("*.md")):
        text = CODE.sub("", BLOCK.sub("", page.read_text(encoding="utf-8")))
        for link in LINK.findall(text):
            if re.match(r"[a-z]+:", link):
                continue
            count += 1
            why = problem(page, link, root)
            if why:
                broken += 1
                print(f"{page.relative_to(root)}: {link} {why}")
    print(f"{count} links, {broken} broken")
    return 1 if broken or not count else 0


if __name__ == "__main__":
    sys.exit(main())
