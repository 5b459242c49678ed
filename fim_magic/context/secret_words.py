"""Names of secrets in other languages than English: `mot_de_passe`, `contraseña`, `db_kennwort`, `密碼`.

Whole words only, with accents or without: a word for a key is none of a secret (`clave_primaria`), unless a word beside
it says so (`clave_api`); nor is what tells something of a password (`longueur_mot_de_passe`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_LETTERS = str.maketrans({"ł": "l", "Ł": "L", "ı": "i", "ß": "ss", "ø": "o", "Ø": "O", "đ": "d", "æ": "ae"})

# Of the words of a name, with `_` around each.
_PASSWORD = re.compile(
    r"""
    _(?:
      mots?_?de_?passe | phrases?_de_passe | code_secret                                   # French
    | contrasen(?:y?a|ha)s? | contrasenyes? | contrassenya                                 # Spanish, Catalan, Galician
    | senhas? | palavras?_?(?:de_)?passe                                                   # Portuguese
    | [a-z]{0,20}kennw(?:ort|oe?rter) | losungswort | zugangsdaten | anmeldedaten | zugangs_?code   # German
    | (?:zugangs|zugriffs|geheim|api)schlue?ssel
    | [a-z]{0,20}wachtwoord(?:en)? | inloggegevens | toegangscode                          # Dutch
    | parol[ae]_d_?ordine | (?:parola|clave)_(?:di_|de_)?acc?esso
    | credenzial[ei] | credencia(?:les|is)            # Italian, Spanish, Portuguese
    | hasl[oa] | sifre(?:si|m|mi|ler|nizi?)? | hesl[oa] | gesl[oa] | lozink[ae] | zapork[ae]  # Slavic, Turkish
    | losenord(?:et)? | passord(?:et)? | adgangskoder? | adgangsord | kodeord | salasanat?   # Nordic
    | jelszo | jelszav[a-z]{1,4} | slaptazodis | parool | pasahitza
    | kata_?sandi | kata_?laluan | mat_?khau | nywila
    | парол(?:ь|я|и|ем|а|ата|ю) | лозинка | συνθηματικο
    )_
    """,
    re.VERBOSE,
)
_MAYBE_PASSWORD = re.compile(
    r"_mdp_|_(?:parola|clave)_(?:(?:d[aeiou]l?l?[aeo]?)_)?(?:utente|usuario|db|database|admin|wifi|rete|red|email|mail|posta|correo|root|server|servidor)_\Z"
    r"|_(?:parola(?:m|si)?|parole|parol|clave|geheimnis(?:se)?|geheim|secreto|segredo|segreto|sekret|jeton|секрет|токен|κωδικος)_(?:\d{1,3}_)?\Z"
)
_KEY = re.compile(
    r"_(?:claves?|chaves?|chiav[ei]|cles?|clef|clau|jetons?|[a-z]{0,20}schlue?ssel|sleutel|klucz|kljuc|klic|anahtar[i]?|avain|nyckel"
    r"|nokkel|nogle|kulcs|cheie|ключ|токен)_"
)
_OF_SECRET = frozenset(
    """
    api acces acceso access acesso accesso secreta secrete secret privada privee prive privata segreta geheim geheime
    geheimer privat privater zugang zugangs zugriff prywatny tajny dostepu gizli ozel erisim azure aws github gitlab
    openai google stripe toegang доступа секретныи приватныи закрытыи апи
    """.split()
)
_KEYWORD = re.compile(r"_(?:palabras?_claves?|palavras?_chaves?|mots?_cles?|parol[ae]_chiave|parol[ae]_chiavi)_")
TELLS_OF = frozenset(
    """
    longueur longitud largo comprimento tamanho tamano lange laenge lunghezza lengte dlugosc uzunluk uzunlugu delka
    hossz champ campo feld veld pole alan nb nombre numero anzahl valide valida valido gultig gueltig tipo fichier
    archivo arquivo datei bestand chemin ruta caminho pfad fuerza forca force minimo minima maximo mensaje mensagem
    politica politique indice pista dica oublie olvidada error erreur erro fehler regeln reglas regles
    regras regole длина длины файл
    """.split()
)
"""Words that say that it is something about a password. In many languages they come first."""
_EAST_ASIAN_WORD = r"""
    (?:密[碼码] | 口令 | 通行[碼码] | パスワード | パスコード | 暗証番号 | 合言葉 | 비밀_?번호 | 비번 | 암호 | 패스워드
      | [密金私秘][鑰钥] | [密私]匙 | (?:訪問|访问|存取|授權|授权|api|API)_?(?:令牌|權杖|权杖|[鑰钥]匙)
      | (?:API|api|アクセス|シークレット|秘密|認証)_?(?:キー|鍵) | シークレット | (?:アクセス|認証)トークン
      | (?:API|api|비밀|시크릿|인증|액세스|개인)_?(?:키|토큰) | 시크릿 | סיסמה | كلمة_(?:المرور|السر)
    )"""
IN_SCRIPT = _EAST_ASIAN_WORD.replace("_?", "[ _]?").replace("_(", "[ _](") + " | รหัสผ่าน | पासवर्ड"
"""The words in scripts other than Latin, Greek and Cyrillic as they stand in a text, as a part of a verbose pattern."""

_EAST_ASIAN = re.compile(_EAST_ASIAN_WORD + r"_?\d{0,3}\Z", re.VERBOSE)
_EAST_ASIAN_MAYBE = re.compile(r"(?:令牌|權杖|权杖|トークン|토큰)_?\d{0,3}\Z")

# What a form or a table of translations says, and nobody takes for a password.
_LABEL = re.compile(r"[^\W\d_](?:(?![\d_])[\w\u0300-\u036f\u093e-\u094d\u0e30-\u0e4e .’'/()-]){1,60}[ ]?[*?:…]?")
_LABEL_WORD = re.compile(
    r"_(?:password|passwort|passphrase|passcode|κωδικος|parola|parole|clave|geheimnis|segreto|segredo|secreto|jeton|anmelden"
    r"|login|connexion|se_connecter|iniciar_sesion|accedi|inloggen|logga_in|zaloguj_sie|войти|вход)_"
)
_LABEL_IN_SCRIPT = re.compile(IN_SCRIPT + " | ログイン | 登[录錄入] | 로그인", re.VERBOSE)
_LETTERS_OF_SCRIPT = re.compile(r"[^\x00-\u024f]")

STEMS = (
    r"[^\x00-\x7f]|mdp|contras|senha|wort|woord|parool|woerter|schlu|zugang|daten|gegevens|toegang|parol|hasl"
    r"|sifre|hesl|gesl|lozink|zapork|losenord|adgang|kodeord|salasan|jelsz|slaptaz|pasahitza|sandi|laluan|khau"
    r"|nywila|clave|geheim|segred|segret|sekret|jeton|chave|chiav|cles?_|cles?\b|\bcle(?!a[nr])|_cle|clef|clau|sleutel|klucz|kljuc|klic|anahtar"
    r"|avain|nyckel|nokkel|nogle|kulcs|cheie"
)
"""What some text of a name holds for which `is_password` or `may_be` holds, as a part of a regular expression.

`pass`, `cred` and what else stands in English names, too, is not said again.
"""


def plain(name: str) -> str:
    """Return a name with Latin, Greek and Cyrillic letters as they are without accents."""
    if name.isascii():
        return name
    letters = unicodedata.normalize("NFKD", name.translate(_LETTERS))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def is_password(name: str, words: Sequence[str]) -> bool:
    """Whether a name says in another language that it is a password, a secret key or the like.

    Args:
        name: As it stands.
        words: Its words in lower case, without accents.
    """
    if _EAST_ASIAN.search(name):
        return True
    marked = _marked(words)
    if not marked:
        return False
    return _PASSWORD.search(marked) is not None or _is_secret_key(marked, words)


def is_label(text: str) -> bool:
    """Whether a text is what a form calls a password or a key: `Mot de passe`, `Neues Passwort`, `パスワード`."""
    if not _LABEL.fullmatch(text):
        return False
    if _LETTERS_OF_SCRIPT.search(text) and _LABEL_IN_SCRIPT.search(text):
        return True
    words = re.findall(r"[^\W_]+", plain(text).lower())
    marked = f"_{'_'.join(words)}_"
    is_word = _PASSWORD.search(marked) or _LABEL_WORD.search(marked)
    # Of one word in small letters it may be the password itself.
    return bool(is_word or _is_secret_key(marked, words)) and (len(words) > 1 or text[:1] != text[:1].lower())


def may_be(name: str, words: Sequence[str]) -> bool:
    """Whether a name may say so: it has other meanings as well. The arguments are those of `is_password`."""
    return _EAST_ASIAN_MAYBE.search(name) is not None or _MAYBE_PASSWORD.search(_marked(words)) is not None


def _is_secret_key(marked: str, words: Sequence[str]) -> bool:
    return _KEY.search(marked) is not None and any(word in _OF_SECRET for word in words)


def _marked(words: Sequence[str]) -> str:
    """Return the words as one text; nothing where they tell of a password or are a word of a search."""
    marked = f"_{'_'.join(words)}_"
    return "" if _KEYWORD.search(marked) or any(word in TELLS_OF for word in words) else marked
