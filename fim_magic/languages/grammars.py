"""What there is to know of each grammar: its package, and what its nodes are called.

The names are those of the grammars' own `node-types.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

_BRACKETS = {"{": "}", "(": ")", "[": "]"}
_C_SHOWS = ("printf", "puts", "assert")


@dataclass(frozen=True)
class Grammar:
    """A language's parser, and how its trees are read.

    Attributes:
        module: The Python module that has it.
        function: Its function that returns the parser.
        extra: The extra of this package that brings it.
        blocks: The nodes whose children are statements, declarations or elements.
        heads: Children of those that are a part of what they stand in, and no statement: a tag, a loop's variable.
        lists: Other nodes whose children stand side by side: arguments, items.
        pairs: The tokens that open a block or a bracket, with the one that closes it.
        not_pairs: Nodes in which such a token is something else, as `(token, node)`.
        texts: The nodes of strings and the like, beside those that are called so.
        definitions: The nodes that define something that may be shown or tested below.
        shows: Names of functions, methods and macros that show or test.
        main: The name of the function that runs a program, or "".
        jumps: The nodes of statements after which nothing of the same block runs.
        goes_on: What a line begins with that goes on with the statement above, which could have ended (a pattern).
        ends: What ends a line at which nothing goes on.
        tags: Whether blocks are elements with tags.
        by_indent: Whether what stands deeper than a line belongs to it.
    """

    module: str
    function: str = "language"
    extra: str = "languages"
    blocks: frozenset[str] = frozenset()
    heads: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()
    pairs: Mapping[str, str] = field(default_factory=lambda: _BRACKETS)
    not_pairs: frozenset[tuple[str, str]] = frozenset()
    texts: frozenset[str] = frozenset()
    definitions: frozenset[str] = frozenset()
    shows: tuple[str, ...] = ()
    main: str = ""
    jumps: frozenset[str] = frozenset()
    goes_on: str = ""
    ends: tuple[str, ...] = (";",)
    tags: bool = False
    by_indent: bool = False


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


# A sign that cannot begin a statement; `/` begins a comment, `+` and `-` may be doubled.
_OPERATOR = r"[.?:&|=<>%^,*]|/(?![/*])|\+(?!\+)|-(?!-)"
SQL_CLAUSES = (
    "and|as|between|cross|else|end|except|from|full|group|having|inner|intersect|join|left|limit|natural|offset|on|or"
    "|order|outer|qualify|returning|right|set|then|union|using|values|when|where|window"
)

_JULIA_BLOCKS = (
    "abstract baremodule begin do for function if let macro module primitive quote struct try while"  # words
)

_JAVASCRIPT = Grammar(
    module="tree_sitter_javascript",
    blocks=_names("program statement_block class_body switch_body switch_case switch_default"),
    heads=_names("identifier member_expression number string unary_expression"),  # what a case is about
    lists=_names("arguments array object formal_parameters named_imports export_clause object_pattern array_pattern"),
    pairs={**_BRACKETS, "${": "}"},
    texts=_names("regex"),
    definitions=_names("function_declaration generator_function_declaration class_declaration lexical_declaration"),
    shows=("console", "assert", "expect", "test", "describe", "it"),
    jumps=_names("return_statement throw_statement break_statement continue_statement"),
    goes_on=_OPERATOR + r"|(?:in|instanceof|of)\b",
)

_TYPESCRIPT = replace(
    _JAVASCRIPT,
    module="tree_sitter_typescript",
    function="language_typescript",
    blocks=_JAVASCRIPT.blocks | _names("interface_body object_type enum_body"),
    definitions=_JAVASCRIPT.definitions | _names("interface_declaration type_alias_declaration enum_declaration"),
)

_C_JUMPS = _names("return_statement break_statement continue_statement goto_statement throw_statement")

_C = Grammar(
    module="tree_sitter_c",
    blocks=_names(
        "translation_unit compound_statement declaration_list field_declaration_list case_statement preproc_if"
        " preproc_ifdef preproc_else"
    ),
    heads=_names("char_literal identifier number_literal"),  # likewise
    lists=_names("argument_list parameter_list initializer_list enumerator_list"),
    texts=_names("char_literal system_lib_string"),
    definitions=_names("function_definition"),
    shows=_C_SHOWS,
    main="main",
    jumps=_C_JUMPS,
    goes_on=_OPERATOR,
)

GRAMMARS: dict[str, Grammar] = {
    "bash": Grammar(
        module="tree_sitter_bash",
        blocks=_names(
            "program compound_statement do_group if_statement elif_clause else_clause case_statement case_item subshell"
            " command_substitution while_statement for_statement function_definition"
        ),
        heads=_names(
            "variable_name word simple_expansion expansion string number do_group elif_clause else_clause case_item"
            " extglob_pattern test_command"
        ),
        pairs={**_BRACKETS, "${": "}", "$(": ")", "if": "fi", "do": "done", "case": "esac"},
        not_pairs=frozenset({(")", "case_item")}),
        texts=_names("heredoc_body raw_string ansi_c_string"),
        definitions=_names("function_definition"),
        shows=("echo", "printf"),
        ends=(";", "&"),
    ),
    "c": _C,
    "cpp": replace(
        _C,
        module="tree_sitter_cpp",
        lists=_C.lists | _names("template_argument_list template_parameter_list"),
        definitions=_C.definitions | _names("class_specifier struct_specifier template_declaration"),
        shows=(*_C.shows, "cout"),
    ),
    "css": Grammar(
        module="tree_sitter_css",
        blocks=_names("stylesheet block"),
        lists=_names("arguments selectors"),
        texts=_names("string_value"),
    ),
    "go": Grammar(
        module="tree_sitter_go",
        blocks=_names(
            "source_file block statement_list expression_case default_case communication_case type_case"
            " expression_switch_statement type_switch_statement select_statement"
        ),
        heads=_names("expression_list statement_list"),
        lists=_names(
            "field_declaration_list import_spec_list argument_list parameter_list literal_value interface_type"
            " const_declaration var_declaration"
        ),
        texts=_names("rune_literal"),
        definitions=_names("function_declaration method_declaration type_declaration"),
        shows=("fmt", "println", "print"),
        main="main",
        jumps=_names("return_statement break_statement continue_statement goto_statement"),
    ),
    "html": Grammar(
        module="tree_sitter_html",
        blocks=_names("document element script_element style_element"),
        heads=_names("start_tag end_tag doctype erroneous_end_tag"),
        lists=_names("start_tag"),
        pairs={},
        texts=_names("quoted_attribute_value raw_text"),
        tags=True,
    ),
    "java": Grammar(
        module="tree_sitter_java",
        blocks=_names(
            "program block class_body interface_body enum_body constructor_body switch_block annotation_type_body"
            " switch_block_statement_group"
        ),
        lists=_names("argument_list formal_parameters array_initializer"),
        texts=_names("character_literal"),
        definitions=_names("class_declaration interface_declaration enum_declaration record_declaration"),
        shows=("System", "assert"),
        main="main",
        jumps=_names("return_statement throw_statement break_statement continue_statement yield_statement"),
        goes_on=_OPERATOR,
    ),
    "javascript": _JAVASCRIPT,
    "julia": Grammar(
        module="tree_sitter_julia",
        blocks=_names(
            "source_file function_definition macro_definition module_definition struct_definition for_statement"
            " while_statement if_statement elseif_clause else_clause try_statement catch_clause finally_clause"
            " let_statement quote_statement compound_statement do_clause"
        ),
        heads=_names(
            "signature for_binding let_binding type_head elseif_clause else_clause catch_clause finally_clause"
        ),
        lists=_names("argument_list vector_expression matrix_expression tuple_expression"),
        pairs=_BRACKETS | dict.fromkeys(_names(_JULIA_BLOCKS), "end"),
        not_pairs=frozenset({("for", "for_clause"), ("if", "if_clause")}),
        texts=_names("string_literal command_literal character_literal prefixed_string_literal"),
        definitions=_names("function_definition macro_definition struct_definition assignment"),
        shows=("println", "print", "@show", "@test", "@assert", "show"),
        jumps=_names("return_statement break_statement continue_statement"),
    ),
    "markdown": Grammar(
        module="tree_sitter_markdown",
        blocks=_names("document section list list_item"),
        heads=_names(
            "block_continuation list_marker_dot list_marker_minus list_marker_parenthesis list_marker_plus"
            " list_marker_star section"
        ),
        pairs={},
        ends=(),
    ),
    "r": Grammar(
        # tree-sitter-r has no wheel of its own; these are the last releases of the pack that hold what they parse.
        module="tree_sitter_language_pack.bindings.r",
        extra="languages-r",
        blocks=_names("program braced_expression"),
        lists=_names("arguments parameters"),
        pairs={**_BRACKETS, "[[": "]]"},
        definitions=_names("binary_operator"),
        shows=("print", "cat", "message", "stopifnot"),
    ),
    "rust": Grammar(
        module="tree_sitter_rust",
        blocks=_names("source_file block declaration_list match_block"),
        lists=_names(
            "enum_variant_list field_declaration_list arguments parameters array_expression field_initializer_list"
            " use_list"
        ),
        texts=_names("char_literal"),
        definitions=_names("function_item struct_item enum_item impl_item trait_item mod_item"),
        shows=("println", "print", "dbg", "assert", "assert_eq"),
        main="main",
        jumps=_names("return_expression break_expression continue_expression"),
        goes_on=_OPERATOR,
    ),
    "sql": Grammar(
        module="tree_sitter_sql",
        blocks=_names("program block transaction"),
        lists=_names("column_definitions select_expression list"),
        pairs={"(": ")", "[": "]", "keyword_case": "keyword_end", "keyword_begin": "keyword_end"},
        goes_on=rf"[),=<>+*/|]|-(?!-)|(?i:(?:{SQL_CLAUSES})\b)",
    ),
    "tsx": replace(_TYPESCRIPT, function="language_tsx"),
    "typescript": _TYPESCRIPT,
    "yaml": Grammar(
        module="tree_sitter_yaml",
        blocks=_names("block_mapping block_sequence"),
        lists=_names("flow_mapping flow_sequence"),
        texts=_names("double_quote_scalar single_quote_scalar block_scalar"),
        ends=(),
        by_indent=True,
    ),
}
"""The grammars by language."""
