"""The tour's cells, and what is said above each, in English and in Traditional Chinese.

What stands between backticks is code. The code of a cell is the same in both languages, and none of them sets a name
but that of the function that the tour is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fim_magic.tour.language import Language

MANUAL = "https://github.com/fim-magic/fim-magic/blob/main/notebooks/README.md"


Cursor = Literal["page", "terminal", ""]
"""Where F8 fills at the cursor: on a page, in a terminal, or nowhere."""


@dataclass(frozen=True)
class Text:
    """Something that is said."""

    english: str
    chinese: str

    def in_language(self, language: Language) -> str:
        return self.english if language == "en" else self.chinese


def together(texts: Sequence[Text], language: Language) -> str:
    """Return several texts as one paragraph."""
    return ("" if language == "zh-TW" else " ").join(text.in_language(language) for text in texts)


def listed(names: Iterable[str]) -> Text:
    """Return a list of code."""
    marked = [f"`{name}`" for name in names]
    return Text(", ".join(marked), "、".join(marked))


@dataclass(frozen=True)
class Step:
    """One cell.

    Attributes:
        name: Which step it is. Several have the same name where front ends differ.
        code: The cell.
        text: What is said above it.
        is_quiet: The cell before it is still to be used, so that the cursor stays where it is.
    """

    name: str
    code: str
    text: Text
    is_quiet: bool = False

    @property
    def first_line(self) -> str:
        return self.code.partition("\n")[0]


@dataclass(frozen=True)
class Surroundings:
    """On what the steps depend.

    Attributes:
        has_model: A model is loaded, or chosen.
        accepts_by_click: A click below an answer makes the cell.
        cursor: Where F8 fills.
    """

    has_model: bool
    accepts_by_click: bool
    cursor: Cursor


LOAD = Step(
    "model",
    "%fim use auto",
    Text(
        "This cell chooses the model that suits this machine, and loads it in the background. Without a GPU it "
        "is one of 0.5 GB, fetched the first time only. Nothing is loaded before you run it.",
        "這一格會選一個適合這台電腦的模型，在背景載入。沒有 GPU 的話，模型是 0.5 GB，只有第一次要下載。執行這一格"
        "之前，什麼都不會載入。",
    ),
)
STATUS = Step(
    "model",
    "%fim",
    Text(
        "A model is chosen already: this cell says which, and where it runs. `%fim models` lists others, and "
        "`%fim use NAME` takes one of them.",
        "已經選好模型了：這一格會說是哪一個、在哪裡執行。`%fim models` 列出其他模型，用 `%fim use NAME` 換成別的。",
    ),
)
HOLE = Step(
    "hole",
    '%%fim\ndef mean_word_length(text):\n    """Return the mean length of the words in a text."""\n    <cursor>\n'
    "    return sum(lengths) / len(lengths)",
    Text(
        "`<cursor>` marks where code is missing. The model reads what stands before it and after it, and writes "
        "what belongs between. The cell itself does not run and does not change: the answer grows below it.",
        "`<cursor>` 標出缺程式碼的地方。模型會讀它前面「和」後面的程式碼，寫出中間那一段。這一格本身不會執行，也"
        "不會改變，答案會在下方逐步出現。",
    ),
)
ACCEPT_BY_CLICK = Step(
    "accept",
    'mean_word_length("Fill in the middle")',
    Text(
        "Click Accept below the answer, or press Tab while the buttons have the focus: the finished cell comes "
        "below them, and is yours. Run that one first, then this one.",
        "按答案下方的 Accept，或在焦點位於按鈕時按 Tab 鍵，完成的儲存格就會出現在下面，之後就是你的了。先執行那一格，"
        "再執行這一格。",
    ),
    is_quiet=True,
)
ACCEPT_BY_COMMAND = Step(
    "accept",
    "%fim accept",
    Text(
        "This takes the answer: the finished cell comes in the place of this one, and is yours.",
        "這一行採用剛才的答案：完成的儲存格會取代這一格，之後就是你的了。",
    ),
)
COMPLETE = Step(
    "complete",
    '%%complete\ndef fibonacci(n):\n    """Return the n-th Fibonacci number."""\n',
    Text(
        "`%%complete` goes on from left to right, from the end of the cell or from its marker. Every model can "
        "do that, also those that cannot infill.",
        "`%%complete` 由左往右，從儲存格結尾或標記處接著寫。每個模型都做得到，不會填充的模型也可以。",
    ),
)
CHECK = Step(
    "check",
    '%%fim --check "median([3, 1, 2]) == 2"\ndef median(xs):\n    xs = sorted(xs)\n    <cursor>',
    Text(
        "`--check` says what has to be true when the cell has run. Each candidate is tried in a process of its "
        "own, and those that pass come first.",
        "`--check` 說明這一格執行之後什麼必須成立。每個候選答案都在獨立的行程裡試一次，通過的排在前面。",
    ),
)
CANDIDATES = Step(
    "candidates",
    '%%fim -n 3\ndef is_leap_year(year):\n    """Return whether a year of the Gregorian calendar has 366 days."""\n'
    "    <cursor>",
    Text(
        "`-n 3` asks for three candidates, and the best comes first. Where there are buttons, 1, 2 and 3 show "
        "each of them; `%fim accept 2` takes the second.",
        "`-n 3` 要三個候選答案，最好的排在前面。有按鈕的話，按 1、2、3 逐一查看；`%fim accept 2` 則採用第二個。",
    ),
)
CURSOR_ON_PAGE = Step(
    "cursor",
    'def mean_word_length(text):\n    """Return the mean length of the words in a text."""\n    words = text.split()\n'
    "    lengths = []\n    return sum(lengths) / len(lengths)",
    Text(
        "A hole without a magic: put the cursor between the brackets of `lengths = []`, and press F8. The button "
        "Replace puts the answer there. Alt+\\ asks for ghost text instead, which Tab takes. Then run the cell.",
        "不用魔術指令也可以填：把游標放在 `lengths = []` 的中括號之間，按 F8，再按 Replace 就放進這一格。按 Alt+\\ "
        "則會顯示幽靈文字，按 Tab 鍵採用。最後執行這一格。",
    ),
)
CURSOR_IN_TERMINAL = Step(
    "cursor",
    CURSOR_ON_PAGE.code,
    Text(
        "A hole without a magic: move the cursor between the brackets of `lengths = []`, and press F8. The answer "
        "comes as grey text, which Right takes. Then run it.",
        "不用魔術指令也可以填：把游標移到 `lengths = []` 的中括號之間，按 F8，答案會以灰色文字出現，按向右鍵採用。"
        "最後執行。",
    ),
)
LOG = Step(
    "log",
    "%fim log",
    Text(
        "This lists what was filled in this session, and what you decided. `%fim log 2` says all that is known "
        "of the second, and `%fim prompt` shows what the model saw, token by token.",
        "這一行列出這次填過的內容，以及你的決定。`%fim log 2` 列出第二次的所有細節，`%fim prompt` 則把模型讀到的"
        "提示詞一個詞元（token）一個詞元列出來。",
    ),
)
END = Step(
    "end",
    "%fim tour end",
    Text(
        "That was the tour. `%%fim?` lists all options and `%fim?` all commands; the manual leads on from here: "
        f"{MANUAL} This last cell ends the tour, and takes away its cells that you have not changed.",
        f"導覽到這裡結束。`%%fim?` 列出所有選項，`%fim?` 列出所有指令；更多內容請看使用手冊（英文）：{MANUAL} 執行"
        "最後這一格就會結束導覽，並移除導覽中你沒有改過的儲存格。",
    ),
)

STEPS = (
    *(LOAD, STATUS, HOLE, ACCEPT_BY_CLICK, ACCEPT_BY_COMMAND, COMPLETE, CHECK, CANDIDATES),
    *(CURSOR_ON_PAGE, CURSOR_IN_TERMINAL, LOG, END),
)
"""All of them, wherever they are shown."""

BELOW = Text(
    "A tour of fim-magic, one cell after the other: run the cell below, and the next one comes. `%fim tour` "
    "shows a step again, `%fim tour next` leaves it out, and `%fim tour end` ends the tour and takes its cells "
    "away.",
    "fim-magic 導覽，一格接著一格：執行下面的儲存格，下一格就會出現。`%fim tour` 再顯示一次目前的步驟，"
    "`%fim tour next` 跳過它，`%fim tour end` 結束導覽並移除它的儲存格。",
)
AT_THE_PROMPT = Text(
    "A tour of fim-magic, one step after the other: each stands in your prompt, or is printed for you to paste, "
    "and when it has run, the next one comes. `%fim tour` shows a step again, `%fim tour next` leaves it out, "
    "and `%fim tour end` ends the tour.",
    "fim-magic 導覽，一步接著一步：每一步都會先填在輸入列，或印出來讓你貼上，執行之後，下一步就會出現。"
    "`%fim tour` 再顯示一次目前的步驟，`%fim tour next` 跳過它，`%fim tour end` 結束導覽。",
)
FAILED = Text(
    "The tour waits here: mend this cell and run it again, or go on without it by `%fim tour next`.",
    "導覽會停在這裡等你：把這一格改好再執行一次，或用 `%fim tour next` 跳過它。",
)
AFTER_THE_NEXT = Text(
    "Run the cell that has come; then the tour goes on.",
    "執行剛才出現的儲存格，導覽就會繼續。",
)
ENDED = Text(
    "The tour has ended.",
    "導覽結束了。",
)
STAY_CHANGED = Text(
    "These of its cells stay, since you have changed them:",
    "這幾格你改過，所以留著：",
)
STAY = Text(
    "These of its cells stay, as they cannot be removed from here:",
    "這幾格無法從這裡移除，所以留著：",
)
NO_TOUR = Text(
    "No tour is under way. `%fim tour` begins one.",
    "目前沒有進行中的導覽。用 `%fim tour` 開始。",
)

SAID = (BELOW, AT_THE_PROMPT, FAILED, AFTER_THE_NEXT, ENDED, STAY_CHANGED, STAY, NO_TOUR)
"""What is said beside the steps."""


def heading(number: int, count: int) -> Text:
    """Return what stands before a step's text."""
    return Text(f"Step {number} of {count}.", f"第 {number} 步，共 {count} 步。")


def steps_for(surroundings: Surroundings) -> tuple[Step, ...]:
    """Return the steps where they are shown, with the end as the last."""
    cursor = {"page": (CURSOR_ON_PAGE,), "terminal": (CURSOR_IN_TERMINAL,), "": ()}[surroundings.cursor]
    return (
        STATUS if surroundings.has_model else LOAD,
        HOLE,
        ACCEPT_BY_CLICK if surroundings.accepts_by_click else ACCEPT_BY_COMMAND,
        COMPLETE,
        CHECK,
        CANDIDATES,
        *cursor,
        LOG,
        END,
    )
