"""Common words of what people look for in pictures, in languages that are written in Latin letters.

They were written down by hand. What stands in English texts as well, as a loan, a surname or a part of a place's name,
is kept apart: it says nothing by itself.
"""

from __future__ import annotations

ENGLISH = frozenset(
    """
    the of and with at is are was were his her its their this that these those from for by over under behind near
    beside between through into onto as to it be has have who which while there some many two three four five very
    not a an in on no or up out off down dog dogs cat cats bird birds horse cow fish man woman men women boy girl
    child children kid kids people person baby house houses car bike bicycle train plane airplane boat ship street
    road bridge tree trees flower flowers forest wood mountain mountains sea ocean beach sky sun sunset sunrise snow
    rain water river lake church castle city town table chair book window food bread apple cake birthday wedding
    holiday night winter summer spring autumn red green blue black white yellow brown orange pink grey gray small
    little big large old young new photo picture image painting drawing portrait view sign restaurant building
    museum statue park garden room kitchen market festival movie poster logo map flag holding wearing sitting
    standing running walking playing eating looking riding sleeping smiling
    """.split()
)
"""Words that English texts of pictures are full of."""

JOINING = frozenset("auf com con em en ist med met mit na nad op pod på qui sind som su sulla sur um un ve ile".split())
"""Words that join others to a phrase, in one language or several, and that names have seldom."""

_TYPED: dict[str, tuple[str, str]] = {
    "German": (
        """und ein eine einer einem einen auf vom zum unter hinter neben zwischen für nicht auch roter rotes grüner
        grünes grüne blaue blauer blaues gelbe schwarze schwarzer schwarzes weiße weißer weißes kleine kleiner
        großer große hund hunde katze katzen vögel pferd kuh fisch mädchen junge leute menschen häuser fahrrad zug
        flugzeug straße brücke bäume blumen wiese berge himmel sonne sonnenuntergang schnee wasser fluss stadt
        kirche tisch stuhl fenster brot apfel kuchen geburtstag hochzeit urlaub nacht hält spielt läuft sitzt
        steht fährt isst trinkt alte altes schöne junger zwei drei vier fünf viele wiesen garten küche kleid mütze
        brille lächelt lachende bücher stühle straßen straßenbahn kaffee himmels wolken gebäude eines dunkle
        regenschirm schwimmt fliegt schläft schlafende stehend bunter schönes schmetterling großmutter glas wein
        freunde tanzen tanzt gesicht augen hände schaf schafe bär elefant kaninchen hase spinne biene turm uhr tür
        dach flughafen markt schule lehrer soldat könig hemd schuhe gabel käse fleisch suppe kartoffeln erdbeere
        erdbeeren spielzeug gitarre rechner männer plätzchen weihnachten weihnachtsbaum fußball backt kocht lesen
        liest trinkende lustig traurig fröhlich feuer feuerwehr polizei krankenhaus sterne nebel frühling abend
        dorf bauernhof weg leuchtturm hafen boote schwimmbad schlafzimmer badezimmer welpe kätzchen ente enten
        gans huhn hühner schwein ziege frosch schlange löwe affe""",
        """der die das den des im in am an von zu mit ist sind zur bei aus dem sich nach vor über rote vogel frau
        kinder haus schiff baum blume wald meer regen strand schloss essen sommer alter sofa hut buch tasse gras
        stein bunte holz oma opa bier maus wand handy mond stern herbst morgen feld""",
    ),
    "French": (
        """une avec dans devant derrière sont cette leur plage chien chienne chiens oiseau oiseaux cheval vache
        femmes hommes enfants fille garçon maisons voiture vélo avion bateau arbre arbres forêt montagne montagnes
        neige pluie rivière église fenêtre gâteau anniversaire mariage vacances nuit hiver été verte bleue jaune
        vieille assise quatre cinq plusieurs quelques jeunes lunettes sourit souriante tient nuage nuages bâtiment
        herbe assiette parapluie nage endormi coloré gâteaux croisant couché jouant étoiles mère père verre bière
        danse yeux moutons éléphant souris araignée abeille horloge toit aéroport marché école soldat chaussures
        couteau fromage viande soupe fraises jouet guitare fête anniversaires noël sapin lisant boit buvant drôle
        triste heureux pompier hôpital étoile brouillard automne printemps matin ferme chemin phare chiot chaton
        poule cochon chèvre grenouille autour bébé jouent dorment vagues bougies""",
        """un le la les de du des et au aux en sur est qui pour sans sous ses chats poisson homme femme enfant gens
        maison rue ville fleur fleurs mer ciel soleil eau château livre pomme noir noire blanc blanche rouge vert
        bleu petit petite grande vieux marche joue assis debout mange coucher deux trois beau belle jeune jardin
        cuisine robe chapeau livres pierre tasse café dort canapé lait chaise courant tenant orage bord lac
        papillon vin amis visage mains mouton ours lapin porte mur roi chemise fraise lit feu lune soir champ
        piscine chambre canard lion""",
    ),
    "Spanish": (
        """una unos unas sobre bajo está están muy desde perro perros gato gata pájaro pájaros caballo mujer mujeres
        niña niños coche bicicleta avión barco árbol árboles montaña montañas cielo nieve lluvia río iglesia silla
        ventana comida manzana tarta cumpleaños vacaciones invierno verano pequeño pequeña vieja jugando corriendo
        sentado sentada atardecer puesta encima cuatro muchos muchas algunos joven jóvenes hermoso jardín cocina
        gafas sonriendo sostiene libros nube nubes edificio hierba piedra taza paraguas nadando volando durmiendo
        duerme estrellas lluvioso nevado gatito perrito cachorro abuela mientras debajo lleno calles autobús
        abuelo vaso amigas bailando ojos manos oveja ovejas elefante conejo ratón araña abeja reloj puerta techo
        aeropuerto escuela soldado camisa zapatos cuchillo fresas juguete guitarra navidad leyendo bebiendo
        comiendo bombero niebla otoño tarde mañana granja piscina dormitorio cachorros pato cerdo cabra serpiente
        fútbol olas nublado""",
        """un el la los las de del y en al con es por para sin entre perra gatos vaca hombre niño gente casa casas
        calle ciudad puente flor flores bosque playa mar agua castillo mesa libro boda noche rojo roja negro negra
        blanco blanca azul amarillo verde grande viejo dos tres cinco hermosa vestido plato lago bebé sol tren
        mariposa madre padre cerveza vino amigos cara oso torre pared mercado rey queso carne sopa fiesta feliz
        fuego luna estrella primavera pueblo campo faro gallina rana león mono""",
    ),
    "Italian": (
        """una dello degli cani gatto gatti uccello uccelli cavallo mucca pesce uomo uomini bambina bambini macchina
        bicicletta treno aereo strada città albero alberi fiori foresta montagna montagne spiaggia cielo pioggia
        acqua fiume chiesa finestra cibo compleanno matrimonio vacanze notte inverno rossa nera gialla piccola
        vecchia gioca corre seduto seduta tramonto sopra molti molte alcuni giovane giardino cucina vestito
        cappello occhiali sorride tiene libri nuvola nuvole edificio pietra tazza piatto ombrello nuota dorme
        mentre sotto strade gattino nonna bicchiere sulle nei farfalla nonno birra amici balla viso occhi pecora
        pecore orso elefante coniglio ragno orologio muro tetto aeroporto mercato scuola soldato camicia scarpe
        coltello formaggio zuppa fragole giocattolo chitarra legge beve mangia fuoco pompiere nebbia autunno
        mattina villaggio fattoria piscina cucciolo anatra maiale serpente scimmia giocano calcio onde dormono
        ragazzo ragazza ragazzi""",
        """un il lo la le gli di del della da e in con per nel che uno sul sulla nella sono cane donna bambino gente
        casa barca ponte fiore bosco mare neve castello tavolo sedia libro pane mela torta rosso nero bianco
        bianca blu giallo verde piccolo grande vecchio tre quattro cinque bello bella erba vola stelle lago sole
        madre padre mani topo ape porta carne festa natale felice luna stella primavera sera campo faro gallina
        capra rana leone""",
    ),
    "Portuguese": (
        """numa pelo pela não está cachorro cachorros cão cães gato pássaro pássaros cavalo peixe homem mulher menino
        menina crianças criança pessoas carro bicicleta trem comboio avião barco cidade árvore árvores floresta
        montanha montanhas céu chuva água igreja cadeira livro janela comida pão maçã aniversário casamento férias
        noite inverno verão vermelho vermelha preto preta branco branca amarelo amarela pequeno pequena velho
        velha brincando correndo sentado pôr dois três muitos muitas alguns jovem jardim cozinha chapéu óculos
        sorrindo segurando livros nuvem nuvens edifício prédio xícara nadando voando dormindo estrelas enquanto
        embaixo gatinho ônibus borboleta avô mãe cerveja vinho dançando rosto olhos mãos ovelha ovelhas urso
        elefante rato aranha abelha relógio parede telhado aeroporto escola soldado camisa sapatos faca queijo
        morangos brinquedo guitarra violão lendo bebendo comendo fogo bombeiro estrela nevoeiro outono tarde manhã
        aldeia fazenda farol piscina filhote pato galinha porco cabra sapo leão macaco meninos meninas jogando
        futebol ondas minha meu moça moço""",
        """um o a os as de do da dos das e em no na com ao à nas são num uma gatos vaca casa rua ponte flor flores
        praia neve castelo mesa bolo verde grande duas quatro vestido grama pedra prato lago ruas sol avó bebê
        copo pai amigos coelho torre porta mercado rei carne sopa festa natal feliz lua primavera quarto cobra""",
    ),
    "Dutch": (
        """een naar onder voor achter naast uit niet ook hond honden katten poes vogels paard koe vrouw mannen
        vrouwen meisje jongen kinderen mensen huis huizen fiets trein vliegtuig schip straat stad brug bomen bloem
        bloemen lucht zon zonsondergang sneeuw rivier kerk kasteel tafel stoel raam eten appel taart verjaardag
        bruiloft vakantie nacht zomer groene blauwe gele zwarte kleine grote oude staat loopt speelt rijdt boven
        twee drie vier vijf veel enkele mooie keuken jurk hoed bril lacht lachende houdt boeken wolk wolken gebouw
        kopje paraplu zwemt vliegt slaapt slapende sterren terwijl straten kleurrijke koffie fietsen vlinder
        moeder glas wijn vrienden danst gezicht ogen handen schaap schapen olifant konijn muis toren klok deur
        muur luchthaven markt soldaat koning overhemd schoenen kaas vlees soep aardappelen aardbeien speelgoed
        gitaar feest verjaardagsfeest kerst kerstboom leest drinkt blij verdrietig vuur brandweer ziekenhuis ster
        herfst lente avond ochtend dorp boerderij vuurtoren zwembad slaapkamer eend varken geit kikker leeuw
        spelen spelende voetbal golven jongens meisjes""",
        """de het van en in op met te is zijn bij kat vogel vis boot bos bergen zee strand regen boek brood rode
        witte mooi jonge tuin gras steen bord meer molen oma opa vader bier dak mes maan mist veld pad haven kip
        slang aap""",
    ),
    "Polish": (
        """jest są się nad przed przez dla oraz nie koty ptak ptaki koń krowa mężczyzna kobieta dziewczyna
        dziewczynka chłopiec dziecko dzieci ludzie domy samochód pociąg samolot statek ulica miasto drzewo drzewa
        kwiat kwiaty góry góra plaża morze niebo słońce śnieg deszcz woda rzeka kościół zamek stół krzesło książka
        okno jedzenie chleb jabłko urodziny ślub wakacje lato czerwony czerwona czarny czarna biały biała zielony
        zielona niebieski niebieska żółty mały mała duży duża stary zachód plaży dwa dwie trzy cztery kilka wiele
        ładny piękny piękna młody młoda ogród kuchnia sukienka kapelusz okulary trzyma siedzi biegnie stoi książki
        chmury budynek trawa kamień filiżanka kawa talerz pływa śpi gwiazdy jezioro podczas ulicy łóżku trawie
        lesie wodzie górach piesek motyl babcia dziadek matka ojciec kieliszek szklanka piwo wina przyjaciele
        tańczy twarz oczy ręce owca owce niedźwiedź słoń królik mysz pająk pszczoła wieża zegar drzwi ściana dach
        lotnisko szkoła żołnierz król koszula buty nóż mięso zupa truskawki zabawka gitara święta choinka czyta
        pije grają gra piłkę szczęśliwy ogień strażak szpital księżyc gwiazda mgła jesień wiosna wieczór rano wieś
        gospodarstwo latarnia basen szczeniak kaczka kura świnia koza żaba wąż małpa moja mój człowiek chłopcy
        dziewczyny""",
        """w z na i do pod o za pies psy kot ryba dom las noc zima stole ser pole lew""",
    ),
    "Turkish": (
        """için üzerinde altında önünde yanında çok köpek kedi kuş inek balık kadın kız erkek çocuk çocuklar insanlar
        evler araba bisiklet uçak gemi tekne sokak şehir köprü ağaç ağaçlar çiçek çiçekler orman dağ dağlar plaj
        sahil deniz gökyüzü güneş yağmur nehir kilise sandalye kitap pencere yemek ekmek elma düğün tatil gece kış
        kırmızı siyah beyaz yeşil mavi sarı küçük büyük eski yürüyen oynayan oturan batımı iki üç dört beş birçok
        güzel genç bahçe mutfak elbise şapka gözlük gülümseyen tutan kitaplar bulut bulutlar bina çimen taş fincan
        kahve tabak şemsiye yüzen uçan uyuyan yıldızlar göl sokakta sahilde üstünde kenarında olan kumsalda
        kelebek anneanne babaanne bardak bira şarap arkadaşlar dans yüz gözler koyun ayı tavşan örümcek arı kule
        saat kapı duvar çatı havaalanı pazar okul asker kral gömlek ayakkabı bıçak peynir çorba çilek oyuncak
        gitar doğum günü yılbaşı okuyan içen mutlu üzgün ateş itfaiye hastane yıldız sonbahar ilkbahar akşam köy
        çiftlik tarla havuz yavru ördek tavuk keçi kurbağa yılan maymun oynuyor yaşlı dalgalar""",
        """bir ve ile da de bu ev tren kar su masa pasta masada gün dede baba eller fil fare ay sis sabah aslan
        futbol""",
    ),
    "Swedish": (
        """och ett på från inte hund hundar katt katter fågel fåglar häst kvinna flicka pojke människor cykel tåg
        flygplan båt gata stad träd blomma blommor skog himmel solen snö regn vatten flod kyrka slott stol fönster
        bröd äpple tårta födelsedag bröllop natt vinter sommar röd grön blå liten stor gammal solnedgång över två
        fyra många några vacker unga trädgård kök klänning glasögon håller böcker moln byggnad gräs kopp tallrik
        paraply simmar flyger sover stjärnor sjö stranden står går leker hunden katten fjäril mormor farmor morfar
        glas öl vänner dansar ansikte ögon händer får björn elefant kanin spindel klocka dörr vägg flygplats
        marknad skola soldat skjorta skor kniv kött soppa jordgubbar leksak gitarr julgran läser dricker eld
        brandman sjukhus måne stjärna dimma höst vår kväll morgon bondgård fält fyr valp kattunge anka höna groda
        lejon spelar fotboll vågor snön pojkar flickor bänk""",
        """en i av med till de som är ko fisk barn hus bil berg strand hav mat svart vit gul tre fem ung ler sten
        kaffe medan mamma pappa mus bi torn tak kung ost fest gris orm apa""",
    ),
    "Danish or Norwegian": (
        """ikke hund hunde katt fugl fugle hest kvinne kvinde mand jente pige gutt dreng børn mennesker sykkel cykel
        båt båd gade træ træer trær blomst blomster skog fjell bjerg himmel solen sne snø regn vand elv kirke
        slott stol vindu vindue brød eple æble kake kage bursdag fødselsdag bryllup natt vinter rød hvit hvid
        grønn grøn blå liten stor gammel solnedgang noen nogle vakker smuk hage køkken kjøkken kjole bøker bøger
        skyer bygning græs gress kopp tallerken paraply svømmer flyver sover stjerner sjø gader stranden sidder
        løper løber står går leker hunden katten sommerfugl bestemor bedstemor mormor glas øl venner danser ansigt
        ansikt øyne øjne hænder hender får bjørn elefant kanin edderkop edderkopp bie tårn klokke dør væg vegg
        flyplass lufthavn skole soldat konge skjorte sko kniv kød kjøtt suppe jordbær leketøy legetøj gitar
        juletre juletræ læser leser drikker ild brannmann sykehus måne stjerne tåke høst efterår vår aften landsby
        gård fyr svømmebasseng valp hvalp kattunge høne geit frø frosk slange løve fotball fodbold bølger drenge
        piger jenter""",
        """en et i af av med til de som er og på kat ku fisk barn hus bil tre skov strand hav vann bord mat nat
        sommer svart gul lille mange ung sten stein kop kaffe sø sau mus ost fest morgen gris ape gutter""",
    ),
    "Finnish": (
        """kanssa edessä koira koirat kissa kissat lintu lintuja hevonen lehmä mies nainen tyttö poika lapsi lapset
        ihmiset ihmisiä polkupyörä lentokone laiva vene katu kaupunki puu puita kukka kukkia metsä vuori vuoret
        taivas aurinko auringonlasku vesi joki kirkko linna pöytä tuoli kirja ikkuna ruoka leipä omena kakku
        syntymäpäivä häät kesä punainen musta valkoinen vihreä sininen keltainen pieni suuri vanha rannalla kaksi
        kolme neljä viisi monta kaunis nuori puutarha keittiö mekko hattu silmälasit hymyilee pitää kirjat pilvi
        pilvet rakennus ruoho kivi kuppi kahvi lautanen sateenvarjo lentää nukkuu tähdet järvi istuu juoksee
        seisoo kävelee leikkii metsässä pöydällä lumessa perhonen isoäiti isoisä äiti isä lasi olut viini ystävät
        tanssii kasvot silmät kädet lammas karhu norsu kani hiiri hämähäkki mehiläinen torni kello ovi seinä katto
        lentokenttä koulu sotilas kuningas paita kengät veitsi juusto liha keitto mansikka mansikoita lelu kitara
        juhla joulukuusi lukee juo iloinen tuli palomies sairaala kuu tähti sumu syksy kevät ilta aamu kylä
        maatila pelto majakka pentu ankka vuohi sammakko käärme leijona apina pelaavat jalkapalloa pelaa aallot
        järven""",
        """ja on ei alla kala talo juna silta ranta meri lumi sade loma yö talvi tori kana sika""",
    ),
    "Czech": (
        """jsou před kočka kočky pták ptáci kůň kráva muž žena dívka chlapec dítě děti lidé dům domy letadlo loď
        ulice město stromy květina květiny hory pláž moře nebe slunce sníh déšť voda řeka kostel zámek stůl židle
        kniha okno jídlo chléb jablko narozeniny svatba dovolená léto červený červená černý černá bílý zelený
        zelená modrý modrá žlutý malý malá velký velká starý pláži západ dva dvě tři čtyři mnoho několik krásný
        krásná mladý mladá kuchyně šaty klobouk brýle drží sedí běží stojí knihy mraky budova tráva kámen šálek
        talíř deštník plave létá spí hvězdy jezero ulici trávě lese vodě horách pejsek motýl babička dědeček matka
        otec sklenice pivo víno přátelé tančí tvář oči ruce ovce medvěd slon králík myš pavouk včela věž hodiny
        dveře zeď střecha letiště trh škola voják král košile boty nůž sýr maso polévka jahody hračka kytara
        vánoce stromeček čte pije hrají šťastný oheň hasič nemocnice měsíc hvězda mlha podzim jaro večer ráno
        vesnice statek maják bazén štěně kachna slepice prase koza žába opice moje můj fotbal vlny člověk""",
        """v na s z a i do pod je pro u ne psi ryba kolo vlak strom les hora hrad dort noc zima bílá zahrada káva
        stole pole lev""",
    ),
    "Hungarian": (
        """nem kutya kutyák macska macskák madár ló tehén férfi nő lány fiú gyerek gyerekek emberek ház autó kerékpár
        vonat repülő hajó utca város híd fák virág virágok erdő hegy hegyek tengerpart tenger ég naplemente hó eső
        víz folyó templom kastély asztal szék könyv ablak étel kenyér születésnap esküvő éjszaka tél nyár piros
        fekete fehér zöld kék sárga kicsi öreg két három négy öt néhány szép fiatal konyha kalap szemüveg mosolyog
        könyvek felhő felhők épület fű kő csésze kávé tányér esernyő úszik repül alszik csillagok tó ül áll sétál
        játszik erdőben asztalon hóban tengerparton pillangó nagymama nagypapa pohár sör barátok táncol szemek
        kezek juh medve elefánt nyúl egér pók méh torony óra ajtó tető repülőtér piac iskola katona király cipő
        kés sajt hús leves eper játék gitár karácsonyfa karácsony olvas iszik boldog tűz tűzoltó kórház csillag
        köd ősz tavasz reggel falu mező világítótorony medence kiskutya kiscica kacsa csirke disznó kecske béka
        kígyó oroszlán majom focizik hullámok""",
        """a az egy és van hal fa nap alma torta nagy sok kert ruha tart fut anya apa bor arc fal ing este tanya""",
    ),
    "Romanian": (
        """și sunt pentru câine câini pisică pisici pasăre vacă pește bărbat femeie fată băiat copil copii oameni
        casă mașină bicicletă avion stradă oraș copac copaci floare flori pădure munte munți plajă soare zăpadă
        ploaie apă râu biserică masă scaun fereastră mâncare pâine măr nuntă vacanță noapte iarnă vară roșu roșie
        negru neagră albă albastru galben mică bătrân două mulți câteva frumos frumoasă tânăr tânără grădină
        bucătărie pălărie ochelari zâmbește ține cărți clădire iarbă piatră ceașcă farfurie umbrelă înoată zboară
        doarme stă aleargă joacă pădurii lângă fluture bunica bunicul mamă tată pahar bere prieteni dansează față
        ochi mâini oaie elefant iepure șoarece păianjen albină ceas ușă perete acoperiș aeroport piață școală
        soldat rege cămașă pantofi cuțit brânză supă căpșuni jucărie chitară petrecere crăciun citește fericit foc
        pompier spital lună ceață toamnă primăvară seară dimineață fermă câmp piscină cățel rață găină porc capră
        broască șarpe maimuță fotbal valuri fetiță""",
        """un o de la cu pe din în sub este cal tren vapor pod mare cer castel verde mic doi trei patru multe rochie
        nori cafea stele lac merge plaja vin oi urs carne brad bea stea leu""",
    ),
    "Indonesian or Malay": (
        """dengan untuk dari dalam sebuah seekor seorang anjing kucing burung kuda sapi ikan pria laki wanita
        perempuan rumah sepeda kereta pesawat kapal perahu jembatan pohon hutan gunung pantai laut langit matahari
        salju hujan sungai gereja istana meja kursi buku jendela makanan apel pernikahan liburan malam merah hitam
        putih hijau biru kuning kecil besar terbenam bermain duduk banyak beberapa cantik dapur kacamata tersenyum
        memegang awan gedung bangunan rumput cangkir piring payung berenang terbang tidur bintang berdiri berlari
        berjalan sedang tepi kupu nenek kakek gelas anggur teman menari wajah tangan domba beruang gajah kelinci
        tikus lebah menara pintu dinding atap bandara pasar sekolah tentara kemeja sepatu pisau keju daging
        stroberi mainan gitar pesta ulang tahun membaca minum makan bahagia sakit kabut musim senja pagi desa
        pertanian sawah mercusuar bebek ayam kambing katak ular singa monyet ombak secangkir lucu""",
        """di yang dan orang anak mobil jalan kota bunga masjid roti kue tua dua tiga empat lima muda taman baju topi
        batu kopi danau ibu ayah bir mata laba jam raja sup natal api bulan kolam babi bola""",
    ),
    "Vietnamese": (
        """một và của trên trong với dưới không chó mèo ngựa bò cá người đàn ông phụ nữ trẻ nhà đạp tàu máy thuyền
        đường phố thành cầu cây rừng núi biển bãi trời mặt hoàng hôn tuyết mưa nước sông thờ bàn ghế sách cửa sổ
        thức bánh táo sinh nhật cưới đêm mùa đông hè đỏ đen trắng xanh vàng nhỏ lớn đang chơi ngồi bốn năm nhiều
        đẹp vườn bếp váy mũ kính cười cầm mây tòa cỏ đá cốc cà phê đĩa ô bơi ngủ hồ đứng chạy đi dạo bên cạnh bướm
        mẹ rượu bạn nhảy múa khuôn mắt cừu gấu voi thỏ chuột nhện tháp đồng tường mái sân chợ trường vua áo giày
        phô thịt súp dâu tiệc đọc uống vui lửa bệnh viện trăng sương xuân tối sáng làng ruộng vịt gà lợn dê ếch
        rắn sư tử khỉ bóng tách tôi cún""",
        """con xe hoa em bay nam cho là chim hai sao cha ly bia tay ong dao mai thu""",
    ),
}

FOREIGN: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    language: (frozenset(own.split()), frozenset(shared.split())) for language, (own, shared) in _TYPED.items()
}
"""language → its words that no English text has, and its words that some have."""
