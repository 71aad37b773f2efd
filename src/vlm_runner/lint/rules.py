"""
The rules by their codes. A code never changes its meaning, and is never given to another rule.

I: images. T: texts. J: JSONL files and records. D: the dataset as a whole. S: the spec.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm_runner.core.text import storable
from vlm_runner.lint.finding import Finding, Location, Severity

if TYPE_CHECKING:
    from vlm_runner.models.profile import Source
    from vlm_runner.preflight import Problem

E, W, N = Severity.ERROR, Severity.WARNING, Severity.NOTE

PREPARE = "bedrock/latest/userguide/model-customization-prepare"
NOVA_PREPARE = "nova/latest/userguide/fine-tune-prepare-data-understanding"
NOVA_2_PREPARE = "bedrock/latest/userguide/nova-2-sft-data-prep"
TROUBLE = "bedrock/latest/userguide/fine-tuning-troubleshooting"
VALIDATORS = "AWS's dataset validators (aws-samples: amazon-bedrock-samples, amazon-nova-samples)"
OURS = "vlm-runner's own rule"
PNG = "PNG specification, third edition (W3C)"
PILLOW = "Pillow's own limit, Image.MAX_IMAGE_PIXELS"


@dataclass(frozen=True, slots=True)
class Rule:
    code: str
    severity: Severity
    title: str
    why: str
    source: str
    fix: str

    def found(
        self,
        message: str,
        at: Location,
        *,
        source: Source | None = None,
        fix: str | None = None,
        fixes: str | None = None,
        value: str | None = None,
        severity: Severity | None = None,
    ) -> Finding:
        """A finding of this rule; `source` is where the model's own number comes from."""
        said = self.source if source is None else f"{source.source}, read {source.date}"
        return Finding(
            code=self.code,
            severity=severity or self.severity,
            message=storable(message),
            why=f"{self.why} [{said}]",
            fix=fix or self.fix,
            subset=at.subset,
            row=at.row,
            field=at.field,
            fixes=fixes,
            value=value,
        )


_MEND = "Repair or remove the image in the dataset"
_SKIP = f'{_MEND}, or set on_bad_row = "skip" under [dataset].'
_PATH = (
    "Paths begin at the dataset's folder, and the images lie in it: mend the path or add the file, or set "
    'on_bad_row = "skip" under [dataset].'
)
_TEXT = "Repair the text in the dataset."
_TURNS = 'Repair the conversation in the dataset, or set on_bad_row = "skip" under [dataset].'
_RECORD = "Repair the record, or let vlm-runner write the file."

_TABLE: tuple[tuple[str, Severity, str, str, str, str], ...] = (
    # ── images: whether they are there ──────────────────────────────────────────────────────────────────────
    ("I101", E, "image missing", "Every record needs its image.", OURS, _SKIP),
    ("I102", E, "image empty", "The file has no bytes.", OURS, _SKIP),
    ("I103", E, "image file missing", "The row names a file that cannot be read.", OURS, _PATH),
    ("I104", E, "image outside the dataset", "Data must not reach other files of the machine.", OURS, _PATH),
    ("I105", E, "several images", "The model limits the images of a record.", PREPARE,
     'Leave images out of the row, choose a model that takes them, or set on_bad_row = "skip".'),
    ("I106", E, "no image value", "The column holds a value that is not an image.", OURS, _SKIP),
    ("I107", E, "image address", "The column holds an address, and addresses are not fetched unasked.", OURS,
     "Set fetch_images = true under [dataset], or download the images beside the rows."),
    ("I108", E, "image not fetched", "Its address holds no image, or may not be reached.", OURS, _SKIP),
    # ── images: whether they are images ─────────────────────────────────────────────────────────────────────
    ("I110", E, "not an image", "Bedrock decodes every image before it trains.", PREPARE, _SKIP),
    ("I111", E, "SVG", "Models take pixels; an SVG has none.", PREPARE, "Draw it as PNG in the dataset."),
    ("I112", E, "HTML or text as an image", "A download often saves an error page as its image.", OURS, _SKIP),
    ("I113", E, "other image format", "Models take PNG, JPEG, GIF and WebP; not all others are converted.", PREPARE, "Convert it to PNG."),
    ("I114", E, "Git LFS pointer", "The file is a pointer to the image.", OURS, "Run: git lfs pull"),
    # ── images: whether they are whole ──────────────────────────────────────────────────────────────────────
    ("I120", E, "PNG cut off", "A PNG ends with its IEND chunk.", PNG, _SKIP),
    ("I121", E, "PNG checksum wrong", "A chunk's checksum does not fit its bytes: they changed.", PNG, _SKIP),
    ("I122", E, "PNG data damaged", "The pixels cannot be decompressed, or are too few.", PNG, _SKIP),
    ("I123", E, "PNG header damaged", "The header names no possible image.", PNG, _SKIP),
    ("I124", E, "JPEG damaged", "The JPEG is cut off, or cannot be decoded.", OURS, _SKIP),
    ("I125", E, "GIF damaged", "The GIF is cut off, or cannot be decoded.", OURS, _SKIP),
    ("I126", E, "WebP damaged", "The WebP is cut off, or cannot be decoded.", OURS, _SKIP),
    ("I127", E, "PNG cannot be decoded", "A decoder refuses what the file holds.", OURS, _SKIP),
    ("I128", N, "bytes after the image", "Bytes follow the end of the image; decoders ignore them.", PNG, "Nothing."),
    ("I129", E, "other image damaged", "An image that was to be converted cannot be decoded.", OURS, _SKIP),
    # ── images: their size ──────────────────────────────────────────────────────────────────────────────────
    ("I130", E, "too many bytes", "The model limits an image's bytes.", PREPARE, "Make it smaller."),
    ("I131", E, "too wide", "The model limits an image's sides.", PREPARE, "Make it smaller."),
    ("I132", E, "too high", "The model limits an image's sides.", PREPARE, "Make it smaller."),
    ("I133", E, "too small", "The model wants a least number of pixels a side.", PREPARE, _SKIP),
    ("I134", E, "decompression bomb", "So many pixels are an attack, or close to it.", PILLOW, _SKIP),
    ("I135", E, "file too large to read", "More than 128 MiB are not read for one image.", OURS, _SKIP),
    ("I136", W, "PNG holds too much data", "More pixels are packed than the header says.", PNG, _MEND + "."),
    ("I137", E, "metadata bomb", "A text or profile in the file unpacks to far more than it is.", OURS, _SKIP),
    ("I138", E, "too many bytes as PNG", "The image grows when it is converted.", PREPARE, 'Use format = "keep".'),
    # ── images: how they are written ────────────────────────────────────────────────────────────────────────
    ("I140", N, "CMYK", "Decoders disagree about CMYK.", OURS, "It is converted to RGB."),
    ("I141", N, "16 bits a channel", "Models see 8 bits a channel.", OURS, "It is scaled to 8 bits."),
    ("I142", N, "palette with transparency", "Decoders disagree about it.", OURS, "It is sent as it is."),
    ("I143", N, "several frames or pages", "A model sees one picture.", OURS, "The first is used."),
    ("I144", N, "turned by EXIF", "Decoders that ignore EXIF see it lying.", OURS, "It is turned upright."),
    ("I145", N, "name and content differ", "The name tells another format.", OURS, "The content counts."),
    ("I150", W, "too large for a test call", "Converse takes less than training does.", OURS,
     "The test call sends a smaller copy; training sees the whole."),
    ("I151", W, "very small", "AWS's Nova Forge SDK refuses it; whether Bedrock does is not documented.", OURS,
     "Leave it out, or enlarge it in the dataset."),
    # ── texts ───────────────────────────────────────────────────────────────────────────────────────────────
    ("T201", E, "value missing", "The template prints a column that is empty here.", OURS, _TEXT),
    ("T202", E, "prompt empty", "A question must not be empty.", PREPARE, _TEXT),
    ("T203", E, "answer empty", "An answer must not be empty.", PREPARE, _TEXT),
    ("T204", E, "system prompt empty", "A system text, where there is one, must not be empty.", PREPARE, _TEXT),
    ("T205", W, "no findings", "The row teaches that there is nothing to find.", OURS,
     "Right for good pages; else complete the row."),
    ("T206", W, "not a text", "The column holds a number or a list where a text is meant.", OURS, _TEXT),
    ("T207", E, "unpaired surrogate", "An unpaired surrogate cannot be written as UTF-8.", "RFC 8259, section 8", _TEXT),
    ("T208", W, "control characters", "They are invisible, and no part of a page's text.", OURS, _TEXT),
    ("T209", W, "characters that end lines", "Some readers of JSONL break a line there.", OURS,
     "Nothing: they are written as escapes. In a file of your own: write them as escapes."),
    ("T210", N, "mixed line ends", "The text mixes CRLF and LF.", OURS, "Use one kind."),
    ("T211", W, "byte order mark in the text", "It is invisible, and no part of the text.", OURS, _TEXT),
    ("T212", W, "replacement characters", "A character was lost when the text was read.", OURS,
     "Read the source again, with its right encoding."),
    ("T213", W, "direction marks", "They turn the order of what a person sees.", "Unicode TR 36", _TEXT),
    ("T214", E, "cell unreadable", "A cell is not what its column says: text that is not UTF-8, a time that no calendar has.", OURS,
     'Repair the row in the dataset, or set on_bad_row = "skip" under [dataset].'),
    ("T220", E, "reserved word", "The job fails on it, anywhere in a text, in any case.", NOVA_PREPARE,
     "Take it out of the texts."),
    ("T221", W, "special token", "It would end a turn of the conversation.", OURS, "Take it out of the texts."),
    ("T222", W, "image placeholder", "The image has a place of its own in the record.", OURS, "Take it out."),
    ("T230", E, "too many tokens", "The model limits a record's tokens.", PREPARE, "Shorten the prompt."),
    ("T231", W, "nearly too many tokens", "The count is an estimate, and close to the limit.", PREPARE,
     "Shorten the prompt."),
    ("T232", E, "HTML too long", "The HTML alone is longer than a record may be.", PREPARE, "Cut the HTML."),
    ("T241", W, "answer longer than the model's", "The model can never answer at that length.", OURS,
     "Shorten the answer."),
    # ── turns ───────────────────────────────────────────────────────────────────────────────────────────────
    ("T250", E, "not a conversation", "The preset reads a list of messages, each with a role and a content.", OURS,
     'Name the column under [dataset]: columns = { messages = "…" }, or use another preset.'),
    ("T251", E, "first turn is not the user's", "The user begins.", PREPARE, _TURNS),
    ("T252", E, "turns do not alternate", "User and assistant take turns.", PREPARE, _TURNS),
    ("T253", E, "last turn is not the assistant's", "The answer is what is learned.", PREPARE, _TURNS),
    ("T254", E, "image in an answer", "Images stand in user turns only.", PREPARE, _TURNS),
    ("T255", E, "places and images differ", "Each image of a row has one place in its texts, or none has any.", OURS,
     "Repair the placeholders or the images of the row."),
    ("T256", E, "turn of another kind", "A record holds texts and images of user, assistant and system.", PREPARE,
     "Take out what is neither, such as tool calls and sound."),
    # ── JSONL ───────────────────────────────────────────────────────────────────────────────────────────────
    ("J301", E, "not named .jsonl", "Bedrock takes files of that name only.", TROUBLE, "Rename it."),
    ("J302", E, "name with other characters", "Letters, digits, _ - / and . only.", NOVA_PREPARE, "Rename it."),
    ("J303", E, "not UTF-8", "JSON is UTF-8.", TROUBLE, "Save it as UTF-8."),
    ("J304", E, "byte order mark", "JSONL begins with its first record.", TROUBLE, "Save it without BOM."),
    ("J305", E, "empty file", "There are no records.", TROUBLE, _RECORD),
    ("J306", E, "empty line", "One object a line, and no empty lines.", TROUBLE, "Remove the line."),
    ("J307", E, "line too long to read", "A line of more than 64 MiB is not read.", OURS, _RECORD),
    ("J308", E, "not JSON", "One object a line.", TROUBLE, _RECORD),
    ("J309", E, "two values on one line", "One object a line.", TROUBLE, "Put each on a line of its own."),
    ("J310", E, "not an object", "A record is a JSON object.", TROUBLE, _RECORD),
    ("J311", E, "prompt and completion", "That is the form of text models.", PREPARE,
     "Write conversations: messages with user and assistant."),
    ("J312", E, "no messages", "A record holds a list 'messages'.", PREPARE, _RECORD),
    ("J313", E, "no schemaVersion", "Bedrock requires it.", NOVA_PREPARE,
     'Add "schemaVersion": "bedrock-conversation-2024".'),
    ("J314", E, "wrong schemaVersion", "It names the form of the record.", VALIDATORS,
     'Write "schemaVersion": "bedrock-conversation-2024".'),
    ("J315", E, "system of another form", "It is a list of one text.", VALIDATORS, _RECORD),
    ("J316", E, "several system texts", "There is one system text.", VALIDATORS, "Join them."),
    ("J317", E, "system text empty", "A system text must not be empty.", VALIDATORS, "Leave system out."),
    ("J318", E, "no turns", "A conversation has a question and an answer.", PREPARE, _RECORD),
    ("J319", E, "first turn is not the user's", "The user begins.", PREPARE, _RECORD),
    ("J320", E, "turns do not alternate", "User and assistant take turns.", PREPARE, _RECORD),
    ("J321", E, "unknown role", "Roles are user and assistant.", PREPARE, _RECORD),
    ("J322", E, "last turn is not the assistant's", "The answer is what is learned.", PREPARE, _RECORD),
    ("J323", E, "content of another form", "It is a list of blocks, and not empty.", PREPARE, _RECORD),
    ("J324", E, "unknown block", "A block is a text or an image.", PREPARE, _RECORD),
    ("J325", E, "image in an answer", "Images stand in user turns only.", PREPARE, _RECORD),
    ("J326", E, "answer without text", "An answer is a text.", PREPARE, _RECORD),
    ("J327", E, "empty text block", "A text must not be empty.", PREPARE, "Leave the block out."),
    ("J328", E, "text is not a string", "A text must be a string.", PREPARE, _RECORD),
    ("J329", E, "too many images", "The model limits images a record.", PREPARE, "Use fewer."),
    ("J330", E, "image without place in S3", "Training reads images from S3.", PREPARE,
     "Upload it, and write source.s3Location.uri."),
    ("J331", E, "URI of another form", "s3://bucket/key, of letters, digits, _ - / and .", VALIDATORS,
     "Rename the object."),
    ("J332", E, "image in another bucket", "Images lie in the dataset's bucket.", NOVA_PREPARE, "Copy it there."),
    ("J333", E, "bucketOwner of another form", "It is an account of 12 digits.", VALIDATORS, _RECORD),
    ("J334", E, "bucketOwner is another account", "The bucket is not that account's.", PREPARE, _RECORD),
    ("J335", E, "image not found", "The job's role must be able to read it.", TROUBLE, "Upload it."),
    ("J336", E, "no image format", "A record names its image's format.", PREPARE, _RECORD),
    ("J337", E, "format that the model does not take", "The model limits formats.", PREPARE, "Convert it to PNG."),
    ("J338", E, "format is another one", "The record names another format than the image has.", PREPARE, _RECORD),
    ("J339", W, "unknown key", "Bedrock's own form has no such key.", VALIDATORS, "Leave it out."),
    ("J340", W, "key twice", "Readers disagree about which one counts.", "RFC 8259, section 4", _RECORD),
    ("J341", E, "NaN or Infinity", "JSON has no such number.", "RFC 8259, section 6", _RECORD),
    ("J342", W, "no image", "The record teaches nothing about images.", OURS, _RECORD),
    ("J343", W, "CRLF line ends", "Lines end with LF.", TROUBLE, "Save it with LF."),
    ("J344", E, "video", "This run trains on images; one dataset holds one kind.", NOVA_PREPARE, _RECORD),
    ("J345", E, "turn of another form", "A turn is an object with role and content.", PREPARE, _RECORD),
    ("J346", E, "nested too deeply", "No reader takes it.", OURS, _RECORD),
    ("J347", N, "no system text", "AWS's validator takes such a record; it refuses a system without a text.", VALIDATORS,
     "Nothing, unless the test calls will have one."),
    ("J348", N, "images not looked at", "They are in S3, and this look needs no AWS.", OURS,
     "Give --images s3, or --images FOLDER for a copy."),
    # ── the dataset as a whole ──────────────────────────────────────────────────────────────────────────────
    ("D401", E, "too few records", "The model wants a least number of records.", PREPARE, "Add rows."),
    ("D402", E, "too many records", "The model limits training and validation records together.", PREPARE,
     "Set max_rows under [dataset]."),
    ("D403", E, "too many validation records", "The model limits them.", PREPARE, "Use a smaller split."),
    ("D404", W, "few records", "The documentation recommends more.", PREPARE, "Add rows."),
    ("D405", W, "row twice", "The same image, question and answer: it counts, and costs, twice.", OURS,
     "Set drop_duplicates = true under [dataset]."),
    ("D406", W, "two answers to one question", "The same image and question, with different answers.", OURS,
     "Keep one of them."),
    ("D407", W, "validation row is in training", "The validation split must differ from the training split.", OURS,
     "Take it out of one of them, or use validation_fraction, which keeps them apart."),
    ("D408", W, "validation image is in training", "The model has seen this image.", OURS,
     "Use validation_fraction, which keeps rows with one image together."),
    ("D409", N, "no validation", "Nothing tells whether the model learned or memorised.", OURS,
     "Set validation_split or validation_fraction under [dataset]."),
    ("D410", W, "one answer to everything", "All answers are the same: the images teach nothing.", OURS,
     "Check which column is the output."),
    ("D412", E, "too many rows to skip", "The spec limits how many rows may be left out.", OURS,
     "Repair the rows, or raise max_bad_rows under [dataset]."),
    ("D413", N, "held-out rows are not sent", "The model trains without a validation set.", NOVA_2_PREPARE,
     "Nothing to do: they are kept for the test calls."),
    ("D411", E, "no usable row", "Nothing is left to train on.", OURS, "See the errors of the rows."),
    # ── the spec ────────────────────────────────────────────────────────────────────────────────────────────
    ("S501", E, "hyperparameter", "The model limits it.", OURS, "Change it under [training]."),
    ("S502", E, "end of life", "Bedrock takes no new job for it.", OURS, "Choose an active model."),
    ("S503", E, "legacy model", "From Legacy on: no new job and no new throughput.", OURS,
     "Choose an active model."),
    ("S504", E, "serving mode", "The model cannot be served so.", OURS, "Set mode under [serving]."),
    ("S505", E, "template fails", "The template cannot be rendered for this row.", OURS,
     "Repair it under [prompt]."),
    ("S506", E, "template names an unknown column", "The dataset has no such column.", OURS,
     "Repair it under [prompt]."),
    ("S507", E, "wrong region", "The model is fine-tuned elsewhere.", OURS, "Set region under [aws]."),
    ("S508", N, "more epochs than advised", "The documentation advises fewer for so many rows.", OURS,
     "Set epochCount under [training]."),
    ("S509", E, "metric", "A metric is an installed entry point, or of a module that the settings allow.", OURS,
     "Repair it under [test]."),
)  # fmt: skip

RULES: dict[str, Rule] = {row[0]: Rule(*row) for row in _TABLE}


def rule(code: str) -> Rule:
    return RULES[code]


def problem_found(problem: Problem, at: Location) -> Finding:
    """A problem of preflight under the rule of its code."""
    return rule(problem.code).found(problem.message, at, source=problem.source, fix=problem.hint)
