"""What is not English is told, in twenty languages and scripts; what is English, or a name, is left alone."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from engine.query.language import what_else

ROOT = Path(__file__).parents[2]

FOREIGN = {
    "German": (
        "ein roter Hund|eine Katze auf dem Sofa|zwei Kinder spielen am Strand|Sonnenuntergang"
        "|Hund im Schnee|rotes Fahrrad"
    ),
    "French": (
        "un chien noir|deux enfants qui jouent dans la neige|chien sur la plage|une maison avec un jardin|vélo rouge"
    ),
    "Spanish": (
        "un gato negro|perro en la playa|una mujer con un vestido rojo|puesta de sol|dos niños jugando|está lloviendo"
    ),
    "Italian": (
        "un cane sulla spiaggia|due gatti|una donna con il cappello|tramonto sul mare|bicicletta rossa|gatto che dorme"
    ),
    "Portuguese": (
        "um cachorro na praia|pôr do sol|duas crianças brincando|mulher com chapéu|gato preto|bicicleta vermelha"
    ),
    "Dutch": ("een hond op het strand|twee kinderen in de sneeuw|rode fiets|zwarte kat op een stoel|zonsondergang"),
    "Polish": "pies na plaży|dwa koty|czerwony rower|dziecko na śniegu|zachód słońca",
    "Turkish": "kırmızı bisiklet|sahilde köpek|iki kedi|gün batımı|karda oynayan çocuklar",
    "Swedish": "en hund på stranden|två katter|röd cykel|barn som leker i snön|solnedgång",
    "Finnish": "koira rannalla|kaksi kissaa|punainen polkupyörä|auringonlasku",
    "Czech": "pes na pláži|dvě kočky|červené kolo a kůň|západ slunce",
    "Hungarian": "egy fekete kutya|két macska|piros kerékpár|naplemente",
    "Romanian": "un câine pe plajă|două pisici|bicicletă roșie|apus de soare la mare",
    "Indonesian": "anjing di pantai|kucing hitam|matahari terbenam|sepeda merah",
    "Vietnamese": "một con chó trên bãi biển|mèo đen|hoàng hôn",
    "other scripts": (
        "猫|赤い自転車|собака на пляже|червоний велосипед|σκύλος στην παραλία|강아지|כלב|كلب على الشاطئ"
        "|कुत्ता|หมา|ძაღლი|red 猫"
    ),
    "no words": "🚀|🐶🐱|???|❤️",
}
CASES = [(text, language) for language, texts in FOREIGN.items() for text in texts.split("|")]

# Names of places, people and dishes, loans, titles; what looks odd and is English; digits.
SILENT = """
café|jalapeño|Münster|São Paulo|Rio de Janeiro|Los Angeles|El Capitan|El Niño|Las Vegas|San Francisco|
Notre-Dame de Paris|Tour de France|Arc deTriomphe|Leonardo da Vinci|Vincent van Gogh|Ludwig van Beethoven|
Le Corbusier|Gabriel García Márquez|crème brûlée|déjà vu|piña colada|papier-mâché|smörgåsbord|doppelgänger|
naïve|façade|über cool|Das Boot|Der Spiegel|Le Monde|La La Land|La Casa de Papel|Casa Blanca|Casa del Sol|
Ponte Vecchio|Cinque Terre|Cirque du Soleil|eau de toilette|film noir|à la carte|pain au chocolat|
Sagrada Família|Neuschwanstein|Oktoberfest|Gdańsk|İstanbul|Málaga|Zürich|Hawaiʻi|Đà Nẵng|dog|cat|red dog|
hot dog|a dog|sea|see|winter|man|sort|by the sea|fly|gate|barn|boot|angel|die|gift|hat|sofa|auto|pan|pie|
no dogs|a dog not on grass|2019|IMG_2031|1\ufe0f\u20e3|π|α particle|DOG|don't|it's raining|x-ray|T-rex|
🚀 launch|Ａ ｄｏｇ|𝐛𝐨𝐥𝐝|a photo of a 猫|a poster of La vita è bella|the sign says und|sushi and ramen|taj mahal|
fjord|tsunami|dachshund|schnauzer|chihuahua|kimono|origami|bonita fish|chaise longue|saddle of a horse|on a|
in an|o|i|la|de|à
""".replace("\n", "").split("|")

# Of things that no word was written down for.
OTHERS = """
Regenbogen über dem Tal|Kerzen auf der Torte|ein Astronaut auf dem Mond|Bauer mit Traktor|verschneite Tannen|
arc-en-ciel au-dessus de la vallée|bougies sur un gâteau|un astronaute sur la lune|sapins enneigés|
arco iris sobre el valle|velas en un pastel|un astronauta en la luna|agricultor con tractor|pinos nevados|
arcobaleno sopra la valle|candele su una torta|un astronauta sulla luna|contadino con il trattore|abeti innevati|
arco-íris sobre o vale|velas em um bolo|um astronauta na lua|fazendeiro com trator|pinheiros com neve|
regenboog boven de vallei|kaarsen op een taart|een astronaut op de maan|boer met tractor|besneeuwde dennen|
tęcza nad doliną|świece na torcie|astronauta na księżycu|rolnik z traktorem|ośnieżone sosny|
vadinin üzerinde gökkuşağı|pastanın üzerindeki mumlar|ayda bir astronot|traktörlü çiftçi|karlı çam ağaçları|
regnbåge över dalen|ljus på en tårta|en astronaut på månen|bonde med traktor|snötäckta granar
""".replace("\n", "").split("|")


@pytest.mark.parametrize(("text", "language"), CASES)
def test_what_is_not_english_is_told(text: str, language: str) -> None:
    told = what_else(text)
    assert told is not None
    if language == "no words":
        assert told == "has no words in it"
    elif language == "other scripts":
        assert told.startswith("is written in ")
    else:
        assert told.startswith("looks like ")


def test_it_is_called_by_its_name() -> None:
    assert what_else("ein roter Hund") == "looks like German"
    assert what_else("собака на пляже") == "is written in Cyrillic letters"
    assert what_else("猫") == "is written in Chinese or Japanese letters"
    there = [(language, what_else(text)) for text, language in CASES if language not in ("other scripts", "no words")]
    assert sum(language in str(told) for language, told in there) > 0.9 * len(there)


def test_of_other_things_more_than_half_is_told() -> None:
    """A list of words has an end; what it misses is searched for in silence, as all was before."""
    told = [text for text in OTHERS if what_else(text) is not None]
    assert len(told) > 0.55 * len(OTHERS)


@pytest.mark.parametrize("text", SILENT)
def test_english_and_names_are_left_alone(text: str) -> None:
    assert what_else(text) is None


def test_so_are_the_captions_of_the_sample() -> None:
    with (ROOT / "data/sample/captions.csv").open(encoding="utf-8", newline="") as file:
        captions = [row["caption"] for row in csv.DictReader(file)]
    assert len(captions) > 200
    assert [text for text in captions if what_else(text) is not None] == []


def test_so_are_the_names_and_meanings_of_21_844_things() -> None:
    data = pytest.importorskip("timm.data")
    folder = Path(data.__file__).parent / "_info"
    rows = [line.split("\t") for line in (folder / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines()]
    names = [name.strip() for row in rows for name in row[1].split(",")]
    wrong = [name for name in names if what_else(name) is not None]
    assert len(names) > 40_000 and len(wrong) <= 10, wrong
    rows = [line.split("\t") for line in (folder / "imagenet_synset_to_definition.txt").read_text("utf-8").splitlines()]
    assert [row[1] for row in rows if what_else(row[1]) is not None] == []


def test_a_long_text_costs_no_more_than_its_beginning() -> None:
    assert what_else("ein Hund " * 1_000_000) == "looks like German"
