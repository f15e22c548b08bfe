"""Lines of captions and pages whose language is known: Turkish, Ottoman Turkish in Latin letters, English, others.

Written for this purpose. `short`: captions of a few words; `long`: a sentence; `ottoman`: words and spellings of
before the reform of the language, as transcriptions have them; `plain`: Turkish typed without its letters.
"""

from typing import Final

_TURKISH_SHORT = """
Yağmurda iki kişi yürüyor
Kırmızı bir araba
Deniz kenarında gün batımı
Masanın üstünde kahve fincanı
Çocuklar parkta top oynuyor
Eski bir cami avlusu
Karlı dağların önünde bir köy
Pazarda satılan domatesler
Boğaz'da bir vapur
Sokakta uyuyan kedi
Öğrenciler sınıfta ders dinliyor
Siyah beyaz bir portre
Fırından yeni çıkmış ekmek
Gece ışıkları altında köprü
Bisiklet süren yaşlı adam
"""
_TURKISH_LONG = """
Fotoğrafta, sabahın erken saatlerinde iskeleye yanaşan bir vapurdan inen kalabalık görülüyor.
Belediye başkanı dün yaptığı açıklamada yeni tramvay hattının gelecek yıl açılacağını söyledi.
Bu haritada bölgelere göre yıllık yağış miktarı farklı renklerle gösterilmiştir.
Annem her pazar sabahı bütün aileyi kahvaltıya çağırır, sofrayı bahçeye kurardı.
Grafikte son beş yılın ihracat rakamları ile ithalat rakamları karşılaştırılıyor.
Müze, salı günleri hariç her gün dokuzdan on yediye kadar ziyaretçilere açıktır.
Aşağıdaki tabloda öğrencilerin matematik ve fen derslerinden aldıkları notlar verilmiştir.
Yangın söndürme ekipleri kısa sürede olay yerine ulaşarak alevleri kontrol altına aldı.
Resmin sol alt köşesinde, üzerinde mavi bir önlük bulunan küçük bir kız çocuğu oturuyor.
Göl kıyısındaki eski değirmen yıllarca kullanılmadığı için yarı yarıya yıkılmış durumda.
"""
_TURKISH_PLAIN = """
Yagmurda yuruyen iki kisi semsiyelerini acmis
Cocuklar okulun bahcesinde top oynuyorlar
Kopruden gecen arabalarin isiklari suya yansiyor
Dukkanin onunde oturan yasli adam gazete okuyor
Sehrin uzerinde toplanan bulutlar karardi
Pencereden bakan kedi kuslari seyrediyor
"""
_OTTOMAN = """
Meclis-i Mebusan'ın dünkü içtimaında bütçe lâyihasının müzakeresine devam olunmuştur.
Harbiye Nezâreti'nden tebliğ olunduğuna nazaran düşman kuvvetleri ric'at etmektedir.
Zât-ı şâhâne bugün Cuma selâmlığını müteâkib heyet-i vükelâyı huzûruna kabul buyurmuşlardır.
Dersaâdet Tramvay Şirketi'nin ücret tarifesine zam icrâsı hususunda Şûrâ-yı Devlet'ce tedkîkat icrâ kılınıyor.
Maârif Nezâreti mekâtib-i ibtidâiyye programlarının ıslâhı zımnında bir encümen teşkil eylemiştir.
Ahvâl-i sıhhiyye hakkında Müdîriyyet-i Umûmiyye'den alınan mâlûmât ber-vech-i âtîdir.
Mezkûr vapurun yarın sabah limanımıza muvâsalatı kuvvetle memûldür.
Muhâbir-i mahsûsumuzdan telgrafla vârid olan havâdise göre şehirde sükûnet hüküm-fermâdır.
Bu bâbda hükûmet-i seniyyenin nokta-i nazarı sefârethânelere iş'âr edilmiştir.
Gazetemizin dünkü nüshasında derc edilen makale efkâr-ı umûmiyyede hüsn-i tesir hâsıl etmiştir.
Tasvîr-i Efkâr cerîdesi mes'ûl müdürü hakkında takîbât-ı kânûniyyeye mübâşeret olunmuştur.
Vilâyât-ı Şarkiyye'de vukû bulan hareket-i arzdan müteessir olan ahâliye muâvenet lüzûmu derkârdır.
"""
_ENGLISH_SHORT = """
Two people walking in the rain
A red car
Sunset by the sea
A cup of coffee on the table
Children playing football in a park
Courtyard of an old mosque
A village below snowy mountains
Tomatoes for sale at a market
A cat asleep in the street
Black and white portrait
Bridge under city lights at night
An old man riding a bicycle
"""
_ENGLISH_LONG = """
The photograph shows a crowd leaving a ferry early in the morning at the pier.
In a statement yesterday the mayor said that the new tram line would open next year.
This map shows the yearly rainfall of each region in a different colour.
The chart compares exports with imports over the last five years.
The museum is open to visitors every day from nine to five except on Tuesdays.
In the lower left corner of the picture sits a small girl who wears a blue apron.
"""
_OTHERS = {
    "de": """
Zwei Menschen gehen mit Regenschirmen über die nasse Straße.
Auf dem Tisch steht eine Tasse Kaffee neben einem Buch.
Das Museum ist außer dienstags täglich von neun bis fünf geöffnet.
""",
    "fr": """
Deux personnes marchent sous la pluie avec des parapluies.
Une tasse de café est posée sur la table à côté d'un livre.
Le musée est ouvert tous les jours sauf le mardi.
""",
    "az": """
Yağışda iki nəfər çətirlə küçədə gəzir.
Stolun üstündə kitabın yanında bir fincan qəhvə var.
Muzey həftənin ikinci günündən başqa hər gün açıqdır.
""",
}


def _lines(language: str, kind: str, text: str) -> list[tuple[str, str, str]]:
    return [(language, kind, line) for line in text.strip().splitlines()]


LINES: Final[list[tuple[str, str, str]]] = [
    *_lines("tr", "short", _TURKISH_SHORT),
    *_lines("tr", "long", _TURKISH_LONG),
    *_lines("tr", "plain", _TURKISH_PLAIN),
    *_lines("tr", "ottoman", _OTTOMAN),
    *_lines("en", "short", _ENGLISH_SHORT),
    *_lines("en", "long", _ENGLISH_LONG),
    *(line for language, text in _OTHERS.items() for line in _lines(language, "long", text)),
]
"""(ISO 639-1 code, kind, line)."""
